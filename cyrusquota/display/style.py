"""The style sheet of the page: light and dark, wide and narrow screens, and paper."""

from __future__ import annotations

STYLE = """\
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1c2430; --quiet: #566273; --line: #dfe3e9;
  --fine: #2f6fb7; --whole: #b4cbe4; --near: #a35f00; --over: #c0303a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1b212a; --ink: #e6eaf0; --quiet: #a2aebd; --line: #323b47;
    --fine: #6aa8ea; --whole: #435c79; --near: #e8a33d; --over: #f2747c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.1rem; margin: 0 0 .25rem; }
p { margin: .25rem 0; }
.quiet, caption { color: var(--quiet); }
.quiet { font-size: .9rem; }
header { margin-bottom: 1.5rem; overflow-wrap: anywhere; }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .75rem;
  margin: 0 0 1rem; padding: 0;
}
.tiles > div, section {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
}
.tiles > div { padding: .8rem 1rem; display: flex; flex-direction: column; }
.tiles dt { color: var(--quiet); font-size: .9rem; }
.tiles dd { margin: 0; }
.tiles .value {
  font-size: 1.65rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums;
}
.tiles .near .value { color: var(--near); }
.tiles .over .value { color: var(--over); }
.facts {
  display: flex; flex-wrap: wrap; gap: .1rem 2rem; margin: 0 0 1.25rem; padding: 0 .25rem;
  font-size: .9rem;
}
.facts > div { display: flex; flex-wrap: wrap; gap: 0 .45rem; }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; }
.facts .value { font-weight: 650; font-variant-numeric: tabular-nums; }
section { padding: 1.1rem 1.25rem; margin-bottom: 1rem; }
.chart { display: block; margin: 1rem 0 .5rem; overflow: visible; }
.chart text { fill: var(--ink); font-size: 12.5px; font-variant-numeric: tabular-nums; }
.chart .label { fill: var(--quiet); }
.bars .label { fill: var(--ink); }
.bars .count { fill: var(--quiet); }
.axis { stroke: var(--line); } .limit { stroke: var(--ink); stroke-width: 1.5px; }
.fine { fill: var(--fine); } .near { fill: var(--near); }
.over { fill: var(--over); } .whole { fill: var(--whole); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: .2em; margin-right: .35em; }
.key.fine { background: var(--fine); } .key.whole { background: var(--whole); }
.key.near { background: var(--near); } .key.over { background: var(--over); }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; }
.wide { overflow-x: auto; margin-top: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
caption { text-align: left; font-size: .9rem; padding-bottom: .3rem; }
th, td {
  padding: .32rem 1rem .32rem 0; text-align: left; vertical-align: baseline; font-weight: 400;
  border-bottom: 1px solid var(--line);
}
th:last-child, td:last-child { padding-right: 0; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--quiet); font-size: .85rem; white-space: nowrap; }
tbody th { overflow-wrap: anywhere; min-width: 11rem; }
td { white-space: nowrap; }
.figure { text-align: right; font-variant-numeric: tabular-nums; }
.meter { display: block; min-width: 6rem; overflow: visible; }
td.figure .near, td.figure .over { font-weight: 600; }
td .near { color: var(--near); } td .over { color: var(--over); }
.beside { display: grid; gap: 0 2rem; }
.beside th, .beside td { padding-top: .12rem; padding-bottom: .12rem; }
.beside tbody th { min-width: 5.5rem; }
@media (min-width: 56rem) { .beside { grid-template-columns: minmax(0, 1fr) 17rem; } }
@media (max-width: 34rem) {
  main { padding: 1.25rem .75rem 2rem; }
  section { padding: .9rem .85rem; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .5rem; }
  .tiles > div { padding: .6rem .75rem; }
  .tiles .value { font-size: 1.35rem; }
  .chart text { font-size: 11px; }
  .chart .odd { display: none; }
  tbody th { min-width: 8.5rem; }
}
@media print {
  :root {
    --page: #fff; --card: #fff; --ink: #000; --quiet: #444; --line: #bbb;
    --fine: #2f6fb7; --whole: #b4cbe4; --near: #a35f00; --over: #c0303a;
  }
  :root { color-scheme: light; }
  main { padding: 0; max-width: none; }
  section, .tiles > div { border-radius: 0; }
  .chart, .tiles, tr { break-inside: avoid; }
  h2, section > .quiet { break-after: avoid; }
  .wide { overflow: visible; }
  svg, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
