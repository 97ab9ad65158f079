"""The code location and the command line. Importing it switches off telemetry and downloads before anything else is imported."""

from tenfold.ops.quiet import quiet

quiet()
