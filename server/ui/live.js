// The figures and the map of experts, asked for once a second while the page is seen.
"use strict";

const kept = 120;                                  // points of a curve
const curves = { rate: [], running: [], waiting: [], kv: [], hits: [] };
let before = null;                                 // the last /v1/stats
let experts = null;                                // the last /v1/experts
let heat = [];                                     // per layer and expert: rows of late, decayed
let chosen = null;                                 // [row, column] of the map
const decay = 0.8;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const share = (part, whole) => whole > 0 ? part / whole : null;
const percent = (value) => value === null ? "–" : (100 * value).toFixed(1) + " %";

function push(list, value) {
  list.push(value);
  if (list.length > kept) list.shift();
}

function curve(id, lists, top) {
  const canvas = $(id), pen = canvas.getContext("2d"), w = canvas.width, h = canvas.height;
  pen.clearRect(0, 0, w, h);
  const most = top || Math.max(1, ...lists.flat().filter((v) => v !== null));
  lists.forEach((list, number) => {
    pen.beginPath();
    let down = false;
    list.forEach((value, i) => {
      if (value === null) { down = false; return; }
      const x = w - (list.length - 1 - i) * (w / (kept - 1)), y = h - 2 - (h - 4) * Math.min(1, value / most);
      if (down) pen.lineTo(x, y); else pen.moveTo(x, y);
      down = true;
    });
    pen.strokeStyle = number === 0 ? colour("--main") : colour("--bad");
    pen.lineWidth = 1.5;
    pen.stroke();
  });
}

function figures(now) {
  const seconds = before ? now.uptime_seconds - before.uptime_seconds : 0;
  const rate = seconds > 0 ? (now.generated_tokens - before.generated_tokens) / seconds : null;
  const e = now.experts, b = before && before.experts;
  const hits = e && b ? share(e.hits - b.hits, e.hits - b.hits + e.misses - b.misses) : null;
  push(curves.rate, rate);
  push(curves.running, now.running);
  push(curves.waiting, now.waiting);
  push(curves.kv, share(now.kv_blocks_used, now.kv_blocks_total));
  push(curves.hits, e ? hits : 1);
  $("f-rate").textContent = rate === null ? "–" : rate.toFixed(rate < 10 ? 1 : 0);
  $("f-queue").textContent = now.running + ", " + now.waiting;
  $("f-kv").textContent = percent(share(now.kv_blocks_used, now.kv_blocks_total));
  $("f-hits").textContent = e ? percent(share(e.hits, e.hits + e.misses)) : "all in memory";
  curve("c-rate", [curves.rate]);
  curve("c-queue", [curves.running, curves.waiting]);
  curve("c-kv", [curves.kv], 1);
  curve("c-hits", [curves.hits], 1);
  before = now;
}

// Colours for 0..1: from the ground to orange for heat, to teal for shares.
function mix(value, hue) {
  const v = Math.max(0, Math.min(1, value));
  return dark() ? `hsl(${hue} ${12 + 52 * v}% ${15 + 40 * v}%)` : `hsl(${hue} ${15 + 70 * v}% ${94 - 48 * v}%)`;
}
const hot = (v) => mix(v, 42 - 24 * v);
const good = (v) => v === null ? "transparent" : mix(0.2 + 0.8 * v, 187);  // none at all is not "never"

const places = {
  d: ["on disk", () => mix(0, 200)], l: ["on its way", () => mix(0.8, 38)], m: ["in memory", () => mix(0.9, 187)], g: ["on the device", () => mix(0.9, 275)],
};
const hottest = () => Math.max(1e-9, ...heat.flat());
const views = {
  heat: (l, i, top) => hot(heat[l] ? Math.sqrt(heat[l][i] / top) : 0),
  place: (l, i) => places[experts.layers[l].place[i]][1](),
  hits: (l, i) => good(share(experts.layers[l].hits[i], experts.layers[l].uses[i])),
  ahead: (l, i) => good(share(experts.layers[l].ahead_useful[i], experts.layers[l].ahead_useful[i] + experts.layers[l].ahead_wasted[i])),
};
const legends = {
  heat: () => [["not used of late", hot(0)], ["used most", hot(1)]],
  place: () => Object.values(places).map(([text, paint]) => [text, paint()]),
  hits: () => [["never found in memory", good(0)], ["always", good(1)], ["not used yet", good(null)]],
  ahead: () => [["loaded ahead in vain", good(0)], ["always used", good(1)], ["never loaded ahead", good(null)]],
};

function view() {
  return document.querySelector("input[name=view]:checked").value;
}

function draw() {
  if (!experts) return;
  const canvas = $("map"), layers = experts.layers, most = Math.max(...layers.map((l) => l.experts));
  const wide = canvas.clientWidth * devicePixelRatio, cell = wide / most;
  const high = Math.max(4 * devicePixelRatio, Math.min(24 * devicePixelRatio, cell));
  canvas.width = Math.round(wide);
  canvas.height = Math.round(high * layers.length);
  const pen = canvas.getContext("2d"), paint = views[view()], gap = cell > 6 ? devicePixelRatio : 0, top = hottest();
  layers.forEach((layer, l) => {
    for (let i = 0; i < layer.experts; ++i) {
      pen.fillStyle = paint(l, i, top);
      pen.fillRect(i * cell, l * high, cell - gap, high - gap);
    }
  });
  if (chosen && layers[chosen[0]]) {
    pen.strokeStyle = colour("--ink");
    pen.lineWidth = 2 * devicePixelRatio;
    pen.strokeRect(chosen[1] * cell + 1, chosen[0] * high + 1, cell - 2, high - 2);
  }
  const legend = $("legend");
  legend.replaceChildren();
  for (const [text, shade] of legends[view()]()) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = shade;
    legend.append(swatch, text);
  }
}

function tell() {
  if (!experts || !chosen) return;
  const [l, i] = chosen, layer = experts.layers[l];
  const ahead = layer.ahead_useful[i] + layer.ahead_wasted[i];
  const used = experts.counted
    ? `; used in ${layer.uses[i]} of ${experts.watched_steps} steps watched, ${layer.rows[i]} rows; found in memory ${percent(share(layer.hits[i], layer.uses[i]))}`
    : "; routes stay where they are computed and are not counted";
  $("cell").textContent = `Layer ${layer.layer}, expert ${i}: ${places[layer.place[i]][0]}${used}`
    + (ahead > 0 ? `; loaded ahead ${ahead} times, used ${percent(share(layer.ahead_useful[i], ahead))}` : "");
}

// What was routed since the last look, and less and less of what was before.
function warm(now) {
  heat = now.layers.map((layer, l) => layer.rows.map((rows, i) => {
    const last = experts && experts.layers[l] ? experts.layers[l].rows[i] : 0;
    return (heat[l] ? heat[l][i] : 0) * decay + Math.max(0, rows - last);
  }));
}

async function turn() {
  try {
    const health = await fetch("health");
    const word = (await health.json()).status;
    $("health").textContent = word;
    $("health").className = "badge " + (health.ok ? "good" : "bad");
    if (health.ok) {
      figures(await (await ask("v1/stats")).json());
      if ($("model").dataset.known !== "yes") {
        $("model").textContent = (await (await ask("v1/models")).json()).data[0].id;
        $("model").dataset.known = "yes";
      }
      const map = await (await ask("v1/experts")).json();
      $("no-experts").hidden = map.layers.length > 0;
      $("experts").hidden = map.layers.length === 0;
      if (map.layers.length > 0) {
        warm(map);
        experts = map;
        draw();
        tell();
      }
    }
  } catch (error) {
    $("health").textContent = error.message === "Failed to fetch" ? "no answer" : error.message;
    $("health").className = "badge bad";
  }
}

async function turns_while_seen() {
  for (;;) {
    if (!document.hidden) await turn();
    await new Promise((done) => setTimeout(done, 1000));
  }
}

function choose(l, i) {
  if (!experts || !experts.layers.length) return;
  const row = Math.max(0, Math.min(experts.layers.length - 1, l));
  chosen = [row, Math.max(0, Math.min(experts.layers[row].experts - 1, i))];
  draw();
  tell();
}

$("map").addEventListener("pointermove", (event) => {
  if (!experts) return;
  const at = $("map").getBoundingClientRect(), most = Math.max(...experts.layers.map((l) => l.experts));
  choose(Math.floor((event.clientY - at.top) / at.height * experts.layers.length), Math.floor((event.clientX - at.left) / at.width * most));
});
$("map").addEventListener("keydown", (event) => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  choose((chosen ? chosen[0] : 0) + (chosen ? step[0] : 0), (chosen ? chosen[1] : 0) + (chosen ? step[1] : 0));
});
$("views").addEventListener("change", draw);
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
turns_while_seen();
