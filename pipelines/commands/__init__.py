"""The commands of `tenfold`, one module each: `add(parser)` declares its arguments, `main(args)` returns the exit code."""
