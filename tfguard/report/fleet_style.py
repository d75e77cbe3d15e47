"""How the page of many locks looks: on a desk and on a phone, by day and by night."""

STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --text: #1b1f24; --soft: #57606a; --edge: #d0d7de;
  --person: #b42318; --unknown: #8a5a00; --held: #0b62c4; --free: #1a7f37; --wait: #d98200; --fail: #c2362b; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --card: #161b22; --text: #e6edf3; --soft: #9aa4af;
  --edge: #30363d; --person: #ff8b80; --unknown: #e3b341; --held: #6cb2ff; --free: #56d364; --wait: #e3a33a;
  --fail: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: .75rem 0 0; }
.sum, footer { color: var(--soft); } .sum strong { color: var(--text); }
.card { background: var(--card); border: 1px solid var(--edge); border-left: 4px solid var(--edge); border-radius: 6px;
  padding: .75rem 1rem; margin: 1rem 0; }
.card.person { border-left-color: var(--person); } .card.unknown { border-left-color: var(--unknown); }
.card.held { border-left-color: var(--held); } .card.free { border-left-color: var(--free); }
.badge { font-size: .85rem; font-weight: 600; white-space: nowrap; margin-left: .25rem; }
.badge.person { color: var(--person); } .badge.unknown { color: var(--unknown); }
.badge.held { color: var(--held); } .badge.free { color: var(--free); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: .4rem 1.5rem;
  margin: .6rem 0 0; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; overflow-wrap: anywhere; }
code { font: .85rem/1.4 ui-monospace, monospace; background: var(--ground); border: 1px solid var(--edge);
  border-radius: 4px; padding: .1rem .3rem; overflow-wrap: anywhere; }
a { color: var(--held); } ol { margin: .25rem 0 0; padding-left: 1.5rem; } li { overflow-wrap: anywhere; }
figure { margin: .75rem 0 0; } svg { display: block; width: 100%; height: 2.5rem; background: var(--ground);
  border-radius: 4px; } svg.share { height: .6rem; }
rect.waited { fill: var(--wait); fill-opacity: .55; } rect.held { fill: var(--held); fill-opacity: .75; }
rect.failed { fill: var(--fail); } rect.now { fill: var(--held); }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; color: var(--soft);
  font-size: .8rem; }
.legend span { display: inline-block; margin: 0 .4rem; }
.legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; }
i.waited { background: var(--wait); opacity: .55; } i.held { background: var(--held); opacity: .75; }
i.failed { background: var(--fail); } i.now { background: var(--held); }
details { margin-top: .6rem; } summary { cursor: pointer; color: var(--soft); }
table { width: 100%; border-collapse: collapse; margin-top: .4rem; font-size: .875rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-top: 1px solid var(--edge);
  overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; border-top: 0; white-space: nowrap; overflow-wrap: normal; }
td.bar { width: 20%; vertical-align: middle; }
footer { font-size: .8rem; }
@media (max-width: 45rem) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, td { display: block; width: 100%; } td.bar { width: 100%; }
  tr { border-top: 1px solid var(--edge); padding: .4rem 0; } td { border: 0; padding: .1rem 0; }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); }
  td:empty { display: none; } .legend { order: 3; flex-basis: 100%; }
}
"""
