"""The report's style sheet: light and dark, screen and paper."""

CSS = """
:root {
  --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --ground: #f6f7f9; --line: #dfe3e8; --accent: #0b63b0;
  --good: #116b38; --good-ground: #dcf3e4; --bad: #a3202a; --bad-ground: #fce3e4; --open: #6a5200; --open-ground: #fbf0cc;
  --wanted: #d5ecdc; --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ed; --soft: #9aa5b1; --paper: #171b20; --ground: #0f1216; --line: #2c333b; --accent: #6cb2f2;
    --good: #7fdca0; --good-ground: #143822; --bad: #ff9b9f; --bad-ground: #451a1d; --open: #ecd078; --open-ground: #3a3113;
    --wanted: #1c3a28;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body {
  margin: 0; color: var(--ink); background: var(--ground); display: grid; grid-template-columns: 13.5rem minmax(0, 1fr);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
nav { position: sticky; top: 0; align-self: start; height: 100vh; overflow: auto; padding: 2.4rem 1rem 2rem 1.6rem; }
nav .brand { font-weight: 700; letter-spacing: .02em; margin: 0 0 1rem .7rem; color: var(--accent); }
nav ol { list-style: none; margin: 0; padding: 0; }
nav a { display: block; padding: .28rem .7rem; border-radius: .4rem; color: var(--soft); text-decoration: none; font-size: .94rem; }
nav a:hover, nav a:focus-visible { background: var(--line); color: var(--ink); }
main { max-width: 76rem; width: 100%; padding: 2.2rem 2rem 5rem 1rem; }
header { margin: 0 0 1.6rem; }
h1 {
  font-size: clamp(1.7rem, 3.4vw, 2.35rem); line-height: 1.18; letter-spacing: -.018em; margin: 0;
  text-wrap: balance; overflow-wrap: anywhere;
}
.subtitle { color: var(--soft); margin: .5rem 0 0; max-width: 70ch; overflow-wrap: anywhere; }
section {
  background: var(--paper); border: 1px solid var(--line); border-radius: .8rem;
  padding: 1.4rem 1.7rem 1.6rem; margin: 0 0 1.3rem; scroll-margin-top: 1rem;
}
h2 { font-size: 1.32rem; line-height: 1.25; letter-spacing: -.01em; margin: 0 0 .9rem; }
h3 { font-size: 1.02rem; margin: 1.7rem 0 .5rem; }
section > h2 + h3 { margin-top: 0; }
section > :last-child, .body > :last-child { margin-bottom: 0; }
p, ul, ol { margin: 0 0 .85rem; max-width: 74ch; }
#verdict > p:first-of-type { font-size: 1.2rem; line-height: 1.5; }
a { color: var(--accent); }
.none { color: var(--soft); font-style: italic; }
.tally { display: flex; flex-wrap: wrap; gap: .5rem 1.1rem; margin: 1rem 0 0; }
.count { font-weight: 600; white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: .4rem 0 1rem; }
.card { border: 1px solid var(--line); border-radius: .65rem; padding: .8rem 1rem; background: var(--ground); }
.card .label { color: var(--soft); font-size: .82rem; line-height: 1.35; }
.card .value { font-size: 1.8rem; line-height: 1.3; font-weight: 650; letter-spacing: -.02em; overflow-wrap: anywhere; }
.card .value .ci { display: block; font-size: .95rem; font-weight: 500; letter-spacing: 0; }
.card .note { color: var(--soft); font-size: .82rem; line-height: 1.4; }
.badge { display: inline-block; padding: .08rem .6rem; border-radius: 1rem; font-size: .82rem; font-weight: 650; white-space: nowrap; }
.badge.holds { color: var(--good); background: var(--good-ground); }
.badge.fails { color: var(--bad); background: var(--bad-ground); }
.badge.not_judged { color: var(--open); background: var(--open-ground); }
.scroll { overflow-x: auto; margin: .4rem 0 1.1rem; }
table { border-collapse: collapse; font-size: .92rem; line-height: 1.45; min-width: 50%; }
caption { text-align: left; color: var(--soft); font-size: .86rem; padding: 0 0 .4rem; }
th, td { text-align: left; padding: .42rem .8rem; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th {
  color: var(--soft); font-size: .8rem; font-weight: 600; white-space: nowrap;
  vertical-align: bottom; border-bottom: 2px solid var(--line);
}
tbody tr:hover { background: color-mix(in srgb, var(--line) 35%, transparent); }
tbody tr:last-child > * { border-bottom: 0; }
.n { text-align: right; white-space: nowrap; }
.best { font-weight: 700; color: var(--good); }
.ci { color: var(--soft); font-size: .84em; white-space: nowrap; }
.small { color: var(--soft); font-size: .84rem; margin-top: .25rem; }
table.claims { width: 100%; }
table.claims td:nth-child(3) { min-width: 15rem; }
table.claims td.n .ci { display: block; }
svg.strip { display: block; overflow: visible; max-width: none; }
svg .wanted { fill: var(--wanted); }
svg .limit { stroke: var(--good); stroke-width: 1.5; stroke-dasharray: 3 2; }
svg .range { stroke: var(--ink); stroke-width: 2; opacity: .55; stroke-linecap: round; }
svg .dot { fill: var(--accent); stroke: var(--paper); stroke-width: 1.5; }
tr.fails svg .dot { fill: var(--bad); }
tr.holds svg .dot { fill: var(--good); }
table.intervals th { font-weight: 400; white-space: nowrap; }
table.intervals tr.strong th, table.intervals tr.strong td { font-weight: 700; }
table.intervals td, table.intervals th { padding-block: .22rem; border-bottom-color: transparent; vertical-align: middle; }
table.intervals .axis td { color: var(--soft); font-size: .78rem; border-top: 1px solid var(--line); }
table.intervals .axis td:nth-child(2) > span:last-child { float: right; }
figure { margin: 0; min-width: 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: .45rem; border: 1px solid var(--line); background: #fff; }
figcaption { color: var(--soft); font-size: .84rem; line-height: 1.45; margin: .35rem 0 .2rem; overflow-wrap: anywhere; }
section > figure:not(:last-child), .body > figure:not(:last-child) { margin: .6rem 0 1.2rem; }
.grid {
  display: grid; gap: 1rem; margin: .4rem 0 1.2rem;
  grid-template-columns: repeat(auto-fill, minmax(max(8rem, 100% / var(--columns) - 1rem), 1fr));
}
.grid img { width: 100%; }
table.matrix { min-width: 0; }
table.matrix th, table.matrix td { padding: .15rem; border: 0; vertical-align: middle; text-align: center; }
table.matrix thead th { white-space: normal; max-width: 8.2rem; vertical-align: bottom; }
table.matrix tbody th {
  font-weight: 500; font-size: .84rem; text-align: right; padding-right: .7rem; max-width: 11rem; overflow-wrap: break-word;
}
table.matrix img { width: 8.2rem; max-width: none; border-radius: .25rem; }
table.matrix tbody tr:hover { background: none; }
details { border: 1px solid var(--line); border-radius: .6rem; margin: .5rem 0 .8rem; }
summary { cursor: pointer; padding: .5rem .9rem; font-weight: 600; font-size: .95rem; }
details[open] > summary { border-bottom: 1px solid var(--line); }
details .body { padding: .9rem; }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1.4rem; margin: .3rem 0 1rem; font-size: .92rem; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; font-family: var(--mono); font-size: .88em; overflow-wrap: anywhere; }
pre {
  overflow-x: auto; background: var(--ground); border: 1px solid var(--line); border-radius: .5rem;
  padding: .8rem 1rem; margin: .4rem 0 1rem;
}
code { font-family: var(--mono); font-size: .88rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (max-width: 62rem) {
  body { display: block; }
  nav { height: auto; padding: .5rem .8rem; background: var(--paper); border-bottom: 1px solid var(--line); z-index: 1; }
  nav .brand { display: none; }
  nav ol { display: flex; max-width: none; overflow-x: auto; }
  nav a { white-space: nowrap; padding: .3rem .6rem; }
  main { padding: 1.4rem 1rem 3rem; }
  section { padding: 1.1rem 1rem; scroll-margin-top: 3.6rem; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
@media print {
  :root {
    --ink: #000; --soft: #444; --paper: #fff; --ground: #fff; --line: #ccc; --accent: #0b63b0;
    --good: #116b38; --good-ground: #dcf3e4; --bad: #a3202a; --bad-ground: #fce3e4; --open: #6a5200; --open-ground: #fbf0cc;
    --wanted: #d5ecdc;
  }
  body { display: block; font-size: 10.5pt; }
  nav { display: none; }
  main { max-width: none; padding: 0; }
  section { border: 0; border-radius: 0; padding: 0 0 1rem; }
  .scroll { overflow: visible; }
  figure, tr, .card { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; height: auto; }
  .badge, svg .wanted, svg .dot { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
