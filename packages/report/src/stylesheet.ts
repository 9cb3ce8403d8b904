/**
 * The page's stylesheet. Charts take their colours from these variables. --act and --imp are sequential scales that rise evenly in
 * lightness (blues; yellow-green-blue and mako), readable with any kind of colour vision and in grey; blue and orange tell two
 * curves apart.
 */
export const STYLESHEET = `
:root{color-scheme:light dark;--font:system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;
--page:#f5f6f8;--card:#fff;--ink:#1a2028;--muted:#586271;--grid:#e3e6ea;--track:#eef0f3;--accent:#1f6fb4;--second:#cf5f08;
--act1:#cfe1f2;--act2:#93c3df;--act3:#4b97c9;--act4:#1764ab;
--imp0:#f3f7d3;--imp1:#dcf0b5;--imp2:#b9e2b5;--imp3:#7fcdbb;--imp4:#41b6c4;--imp5:#1d87b8;--imp6:#225ea8;--imp7:#253494;--imp8:#081d58;
--on-low:#1a2028;--on-high:#fff}
@media (prefers-color-scheme:dark){:root{--page:#0f1317;--card:#171c22;--ink:#e6eaef;--muted:#9aa5b3;--grid:#2b323b;--track:#20262e;--accent:#58a6e0;--second:#f0964a;
--act1:#1e3f5e;--act2:#27628f;--act3:#3c8cc4;--act4:#8cc8f2;
--imp0:#251d3b;--imp1:#35264c;--imp2:#403a75;--imp3:#3d5296;--imp4:#366da0;--imp5:#3487a6;--imp6:#35a1ab;--imp7:#4fc0ad;--imp8:#b4e6c3;
--on-low:#eef2f6;--on-high:#0c1116}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 var(--font);-webkit-text-size-adjust:100%}
main{max-width:980px;margin:0 auto;padding:32px 20px 56px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 10px}
h3{font-size:14px;margin:0 0 2px}
p{margin:0 0 10px}
.lead,figcaption,.small{color:var(--muted);font-size:13.5px}
.lead{overflow-wrap:anywhere}
.card,figure,.facts>div{background:var(--card);border:1px solid var(--grid);border-radius:10px}
figure{margin:0 0 14px;padding:14px 18px 12px;min-width:0}
figcaption{margin-bottom:6px}
figure svg{display:block;width:100%;height:auto}
.n{display:none;max-width:520px;margin:0 auto}
.pair{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(min(100%,270px),1fr));margin-bottom:14px}
.pair figure{margin:0}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;margin:0 0 6px;padding:0;list-style:none;font-size:12.5px;color:var(--muted)}
.legend li,.scale{display:flex;align-items:center;gap:6px}
.legend i{width:18px;height:0;border-top:3px solid;border-radius:2px}
.legend i.thin{border-top-width:1px}
.legend i.dot{width:9px;height:9px;border:0;border-radius:50%;background:currentColor}
.scale{font-size:12.5px;color:var(--muted);margin:0 0 2px;flex-wrap:wrap}
.scale b{display:flex;border-radius:3px;overflow:hidden}
.scale b i{width:18px;height:11px}
.facts{display:grid;gap:10px;grid-template-columns:repeat(4,minmax(0,1fr));margin:20px 0 0}
.facts>div{padding:12px 14px;min-width:0}
.facts .hero,.facts .wide{grid-column:span 2}
.facts dt{font-size:12.5px;color:var(--muted)}
.facts dd{margin:0;font-size:19px;font-weight:600;line-height:1.35;overflow-wrap:anywhere}
.facts .wide dd{font-size:16px}
.facts .hero dd:first-of-type{font-size:28px;font-variant-numeric:tabular-nums}
.facts dd.more{font-size:12.5px;font-weight:400;color:var(--muted);line-height:1.45}
.notes{margin:14px 0 0;padding:10px 16px;border-left:4px solid var(--second);border-radius:4px;font-size:14px}
.notes p{margin:0 0 4px;white-space:pre-line}
.notes p:last-child{margin:0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{text-align:left;padding:4px 14px 4px 0;border-top:1px solid var(--grid);vertical-align:top}
thead th{border-top:0;color:var(--muted);font-weight:500}
tbody th{font-weight:500}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code,.samples pre{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,"Liberation Mono",monospace}
td code{color:var(--muted);overflow-wrap:anywhere}
details{padding:10px 18px;margin-bottom:14px}
summary{cursor:pointer;font-weight:500;font-size:14px}
details[open] summary{margin-bottom:8px}
.samples>article{padding:14px 18px;margin-bottom:14px}
.samples pre{margin:2px 0 0;white-space:pre-wrap;overflow-wrap:anywhere}
.samples .pair{margin:10px 0 0}
.samples h3{color:var(--muted);font-size:12.5px;font-weight:500}
.samples .after{border-left:3px solid var(--accent);padding-left:12px}
.samples .before{border-left:3px solid var(--grid);padding-left:12px}
.settings{columns:2 340px;column-gap:14px}
.settings .card{padding:12px 18px 10px;margin-bottom:14px;break-inside:avoid}
.settings caption{text-align:left;padding-bottom:4px;font-weight:600;font-size:14px}
.settings th{width:45%;overflow-wrap:anywhere}
.settings td{overflow-wrap:anywhere;padding-right:0}
footer{margin-top:28px}
@media (max-width:820px){.facts{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media (max-width:700px){main{padding:20px 12px 40px}figure{padding:12px 10px 8px}.w{display:none}.n{display:block}h1{font-size:22px}}
@media print{:root{color-scheme:light}body{background:none}figure,.card,.facts>div{break-inside:avoid}}
`.trim();
