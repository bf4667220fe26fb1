// Draw every figure of the page from its data block, in the colours of the theme; again when either changes.
// <div data-plot="front"> + <script type="application/json" data-figure="front">{"data": [...], "layout": {...}}</script>
// A colour is named by its role ("role:canary", "role:stable", "role:3" for the third series), never by its value.
"use strict";

const drawn = new WeakMap();

function coloured(value, theme) {
  if (typeof value === "string" && value.startsWith("role:")) {
    const role = value.slice(5);
    return MODELYARD_PLOTLY[theme].layout.colorway[role - 1] ?? MODELYARD_PLOTLY.roles[theme][role];
  }
  if (Array.isArray(value)) return value.map((v) => coloured(v, theme));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, theme)]));
  return value;
}

function drawFigure(node) {
  const source = document.querySelector(`script[data-figure="${CSS.escape(node.dataset.plot)}"]`);
  if (!source) return;
  const theme = modelyardTheme(), key = theme + source.textContent;
  if (drawn.get(node) === key) return;
  drawn.set(node, key);
  const figure = coloured(JSON.parse(source.textContent), theme);
  const layout = { margin: { l: 48, r: 12, t: 12, b: 36 }, hovermode: "x unified", showlegend: false, autosize: true, ...figure.layout, template: MODELYARD_PLOTLY[theme] };
  Plotly.react(node, figure.data, layout, MODELYARD_PLOTLY.config);
}

const drawAll = () => document.querySelectorAll("[data-plot]").forEach(drawFigure);
drawAll();
document.addEventListener("htmx:afterSettle", drawAll);
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
// Figures follow their panels, also when only a panel changes its width.
const widths = new ResizeObserver((entries) => { for (const { target } of entries) if (target.data) Plotly.Plots.resize(target); });
document.querySelectorAll("[data-plot]").forEach((node) => widths.observe(node));
