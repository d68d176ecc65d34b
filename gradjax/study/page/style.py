"""The page's look: one column that fits a phone 360 pixels wide, and its own rules on paper."""

CSS = """
:root { --ink: #1a1d21; --soft: #4a5159; --line: #d5dade; --wash: #f5f7f9; --accent: #0b5394;
  --good: #0b5d3b; --good-wash: #e3f3ea; --bad: #9b1c1c; --bad-wash: #fbe6e4; --ask: #5c3d00; --ask-wash: #fdf3dc; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: #fff; color: var(--ink); line-height: 1.55; overflow-wrap: break-word;
  font: 1.0625rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, nav, main, footer { max-width: 60rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 2.2rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; max-width: 46rem; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 0 0 .5rem; letter-spacing: -.005em; max-width: 46rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p, ul, ol, dl, details.look { margin: .7rem 0; max-width: 46rem; }
li { margin: .2rem 0; }
a { color: var(--accent); text-underline-offset: .15em; }
a.term { color: inherit; text-decoration-style: dotted; text-decoration-color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.lead { font-size: 1.15rem; color: var(--soft); }
.soft { color: var(--soft); font-size: .9em; }
.question { font-size: 1.15rem; border-left: 4px solid var(--accent); padding-left: .8rem; }
.answer { background: var(--good-wash); border-radius: 6px; padding: .7rem .9rem; }
.meaning { border-left: 4px solid var(--line); padding: .1rem 0 .1rem .8rem; }
dfn { font-style: normal; font-weight: 650; }
.predict { background: var(--ask-wash); color: var(--ask); border-radius: 6px 6px 0 0; padding: .7rem .9rem;
  margin-bottom: 0; }
details.look { background: var(--ask-wash); border-radius: 0 0 6px 6px; padding: 0 .9rem .4rem; margin-top: 0; }
.reference { color: var(--soft); font-size: .9rem; }
.formula { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: .2rem 1.5rem;
  align-items: center; border: 1px solid var(--line); border-radius: 6px; padding: .5rem .9rem; margin: .9rem 0; }
.formula > div { min-width: 0; }
.formula p { margin: .3rem 0; }
math { font-size: 1.1em; }
math[display="block"] { padding: .5rem 0; max-width: 100%; overflow-x: auto; overflow-y: hidden; }
sup, sub { font-size: .75em; line-height: 0; }
section { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 2rem; }
.place { color: var(--soft); font-size: .85rem; text-transform: uppercase; letter-spacing: .06em; margin: 0 0 .3rem; }
nav { margin-top: 2rem; }
nav h3 { margin: .8rem 0 .2rem; }
nav ol, nav ul { margin: .2rem 0; padding-left: 1.4rem; }
figure { margin: 1.4rem 0; }
figure img {
  display: block; width: 100%; height: auto; border: 1px solid var(--line); border-radius: 6px;
  background: #fff;
}
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; }
code, pre {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; font-size: .875em;
}
code { background: var(--wash); border-radius: 4px; padding: .1em .3em; overflow-wrap: anywhere; }
pre code { background: none; padding: 0; overflow-wrap: normal; font-size: 1em; }
pre {
  background: var(--wash); border: 1px solid var(--line); border-radius: 6px; padding: .8rem;
  overflow-x: auto; line-height: 1.4;
}
table { border-collapse: collapse; width: 100%; font-size: .95rem; margin: .9rem 0; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
ul.claims { list-style: none; margin: 0; padding: 0; }
ul.claims li { margin: 0 0 .35rem; }
th, td {
  text-align: left; vertical-align: top; padding: .45rem .7rem .45rem 0; border-bottom: 1px solid var(--line);
}
th[scope="row"] { font-weight: 500; min-width: 12rem; }
#claims th[scope="row"] { width: 17rem; }
thead th { color: var(--soft); font-weight: 600; font-size: .85rem; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.verdict {
  display: inline-block; font-weight: 650; font-size: .85rem; padding: .1rem .5rem; border-radius: 99px;
  white-space: nowrap;
}
header .verdict { white-space: normal; border-radius: 1rem; }
.holds { color: var(--good); background: var(--good-wash); }
.fails { color: var(--bad); background: var(--bad-wash); }
.notice { background: var(--bad-wash); color: var(--bad); border-left: 4px solid var(--bad); padding: .6rem .8rem; }
details { margin: .8rem 0; }
summary { cursor: pointer; font-weight: 600; padding: .2rem 0; }
.files { display: block; }
.files a { margin-right: 1rem; display: inline-block; padding: .2rem 0; }
dt { font-weight: 650; margin-top: .7rem; }
dd { margin: 0; }
dt:target, .meaning:target { background: var(--ask-wash); }
.controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(11rem, 100%), 1fr)); gap: .3rem 1.5rem;
  background: var(--wash); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .9rem; margin: 1rem 0; }
.controls p { margin: .3rem 0; }
.controls label { display: block; font-weight: 600; }
.controls input, .controls select { width: 100%; font: inherit; accent-color: var(--accent); min-height: 1.9rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1rem; }
.plots figure { margin: 0; }
.plots svg { display: block; width: 100%; height: auto; font-family: inherit; }
footer { color: var(--soft); font-size: .9rem; padding-bottom: 3rem; margin-top: 3rem; }
@media (max-width: 40rem) {
  h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; }
  table.stack thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table.stack caption { display: block; }
  table.stack, table.stack tbody, table.stack tr, table.stack td, table.stack th { display: block; }
  table.stack tr { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .8rem; margin: .6rem 0; }
  table.stack th, table.stack td { border: 0; padding: .15rem 0; }
  table.stack [data-label]::before { content: attr(data-label) ": "; color: var(--soft); font-size: .85rem; }
  .number { white-space: normal; }
  #ledger svg { display: none; } /* its table says the same, and letters of four pixels say nothing */
}
@page { margin: 14mm; }
@media print {
  body { font-size: 10pt; } a { color: inherit; text-decoration: none; }
  header, nav, main, footer { max-width: none; padding: 0; }
  section { break-before: page; border-top: 0; margin-top: 0; }
  figure, tr, .question, .formula, .meaning { break-inside: avoid; }
  h2, h3, .predict { break-after: avoid; }
  table { font-size: 8pt; table-layout: fixed; }
  thead th:first-child { width: 32%; } thead th:nth-last-child(2) { width: 22%; } #claims th:first-child { width: 25%; }
  th[scope="row"] { min-width: 0; } .plots { grid-template-columns: 1fr 1fr; }
  th, td, .number { white-space: normal; overflow-wrap: anywhere; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 7.5pt; overflow: visible; }
  details.look::details-content { content-visibility: visible; height: auto; }
  details.look summary, details:not(.look), .controls, .files { display: none; }
  .verdict { border: 1px solid currentcolor; background: none; white-space: normal; border-radius: 6px; }
  .question, .answer, .meaning, .predict, .look, .verdict, .notice, pre, code {
    -webkit-print-color-adjust: exact; print-color-adjust: exact;
  }
}
"""
