/* Draws the explorer from the numbers in the page. All of them are whole hundredths of a decade: 100 log10. */
(() => {
  "use strict";
  const get = (name) => document.getElementById("explorer-" + name);
  const data = JSON.parse(get("data").textContent);
  const controls = ["scale", "depth", "activation", "initialization"];
  const BOX = { left: 52, right: 388, top: 14, bottom: 258 };
  const BLUE = "#0b5394", ORANGE = "#b45309", GREY = "#4a5159", LINE = "#d5dade";

  /* Where in the flat lists a network's numbers begin. */
  const lengths = data.depths.map((depth) => Math.min(depth, data.shown) + 1);
  const perNetwork = lengths.reduce((a, b) => a + b, 0);
  const begins = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0));
  const deepest = data.depths[data.depths.length - 1];

  function chosen() {
    const [scale, depth, activation, initialization] = controls.map((name) => Number(get(name).value));
    const network = (activation * data.initializations.length + initialization) * data.scales.length + scale;
    const first = network * perNetwork + begins[depth];
    const cut = (name) => data[name].slice(first, first + lengths[depth]).map((value) => value / 100);
    const line = data.line.slice((activation * data.scales.length + scale) * (deepest + 1)).map((v) => v / 100);
    const cell = network * data.depths.length + depth;
    return {
      scale: data.scales[scale], depth: data.depths[depth],
      activation: data.activations[activation], initialization: data.initializations[initialization],
      layers: data.layers.slice(begins[depth], begins[depth] + lengths[depth]),
      signal: cut("signal"), below: cut("below"), above: cut("above"),
      line: line.slice(0, data.depths[depth] + 1),
      low: data.low[cell] / 100, size: data.size[cell] / 100, absent: data.absent[cell],
      counts: data.counts.slice(cell * data.bins, (cell + 1) * data.bins),
    };
  }

  function draw(svg, tag, attributes, text) {
    const element = document.createElementNS(svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    svg.append(element);
  }

  const tidy = (value) => String(Math.round(value * 100) / 100).replace("-", "\u2212");

  /* Ten to the value, as one says it: 1.3, or 6.6 × 10⁻⁷⁰. */
  function power(value) {
    if (value > -2 && value < 3) return Number((10 ** value).toPrecision(2)).toString();
    const whole = Math.floor(value), raised = String(whole).replace(/./g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
    return `${(10 ** (value - whole)).toFixed(1)} × 10${raised}`;
  }

  /* About five round numbers that span the range. */
  function ticks(low, high) {
    const rough = (high - low) / 5, unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * [1, 2, 5, 10].find((m) => m * unit >= 0.8 * rough);
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9) + 1e-9; k++) found.push(k * step);
    return found;
  }

  /* The empty panel with its axes; gives the functions that place x and y. */
  function panel(svg, [x0, x1], [y0, y1], xLabel, yLabel) {
    svg.replaceChildren();
    const x = (v) => BOX.left + ((v - x0) / (x1 - x0)) * (BOX.right - BOX.left);
    const y = (v) => BOX.bottom - ((v - y0) / (y1 - y0)) * (BOX.bottom - BOX.top);
    const small = { "font-size": 13, fill: GREY };
    for (const v of ticks(y0, y1)) {
      draw(svg, "line", { x1: BOX.left, x2: BOX.right, y1: y(v), y2: y(v), stroke: LINE });
      draw(svg, "text", { x: BOX.left - 5, y: y(v) + 4, "text-anchor": "end", ...small }, tidy(v));
    }
    for (const v of ticks(x0, x1)) {
      draw(svg, "line", { x1: x(v), x2: x(v), y1: BOX.bottom, y2: BOX.bottom + 4, stroke: GREY });
      draw(svg, "text", { x: x(v), y: BOX.bottom + 17, "text-anchor": "middle", ...small }, tidy(v));
    }
    const middle = (BOX.top + BOX.bottom) / 2, centre = (BOX.left + BOX.right) / 2;
    draw(svg, "text", { x: centre, y: 294, "text-anchor": "middle", ...small }, xLabel);
    draw(svg, "text", { transform: `translate(12 ${middle}) rotate(-90)`, "text-anchor": "middle", ...small }, yLabel);
    return [x, y];
  }

  const padded = (values, least) => {
    const low = Math.min(...values), high = Math.max(...values), room = Math.max((high - low) * 0.06, least);
    return [low - room, high + room];
  };

  function drawValues(state) {
    const svg = get("values"), total = state.counts.reduce((a, b) => a + b, 0) + state.absent;
    const edges = state.counts.map((_, i) => state.low + i * state.size);
    const mean = state.line[state.depth], share = state.counts.map((count) => (100 * count) / total);
    const span = padded([state.low, state.low + data.bins * state.size, mean], 0.1);
    const [x, y] = panel(svg, span, [0, Math.max(...share, 1) * 1.08], "log10 of a singular value", "share (%)");
    share.forEach((value, i) => {
      const width = Math.max(x(edges[i] + state.size) - x(edges[i]), 1);
      const height = BOX.bottom - y(value);
      if (value) draw(svg, "rect", { x: x(edges[i]), y: y(value), width, height, fill: BLUE, "fill-opacity": 0.75 });
    });
    const rule = { x1: x(mean), x2: x(mean), y1: BOX.top, y2: BOX.bottom, stroke: ORANGE };
    draw(svg, "line", { ...rule, "stroke-width": 2, "stroke-dasharray": "6 3", class: "theory" });
  }

  function drawSignal(state) {
    const svg = get("signal"), total = state.line[state.depth];
    const theory = state.line.map((value) => total - value);
    const lows = state.signal.map((v, i) => v - state.below[i]), highs = state.signal.map((v, i) => v + state.above[i]);
    const span = padded([...theory, ...lows, ...highs], 0.25);
    const edge = Math.max(state.depth * 0.02, 0.05);
    const sides = [-edge, state.depth + edge];
    const [x, y] = panel(svg, sides, span, "layer (0: the input)", "log10 of the backward signal");
    const path = theory.map((value, layer) => `${x(layer)},${y(value)}`).join(" ");
    draw(svg, "polyline", { points: path, fill: "none", stroke: ORANGE, "stroke-width": 2, class: "theory" });
    state.layers.forEach((layer, i) => {
      draw(svg, "line", { x1: x(layer), x2: x(layer), y1: y(lows[i]), y2: y(highs[i]), stroke: BLUE });
      draw(svg, "circle", { cx: x(layer), cy: y(state.signal[i]), r: 3.5, fill: BLUE });
    });
  }

  function summary(state) {
    const first = state.signal[0], full = state.counts.map((count, i) => (count ? i : -1)).filter((i) => i >= 0);
    const fate = first > 1 ? "The gradient explodes" : first < -1 ? "The gradient vanishes" : "The gradient is kept";
    const low = power(state.low + (full[0] ?? 0) * state.size);
    const high = power(state.low + ((full[full.length - 1] ?? 0) + 1) * state.size);
    const lost = state.absent ? ` ${state.absent} of ${data.width * data.seeds} directions are lost for good.` : "";
    return `${fate}: at the input the signal is ${power(first)} times what it is at the output ` +
      `(theory: ${power(state.line[state.depth])} times). The network stretches its directions between ${low} and ` +
      `${high} times.${lost}`;
  }

  function update() {
    const state = chosen();
    for (const name of ["scale", "depth"]) {
      get(name + "-value").textContent = state[name];
      get(name).setAttribute("aria-valuetext", state[name]);
    }
    drawValues(state);
    drawSignal(state);
    const words = summary(state);
    const title = `${state.activation}, ${state.initialization}, weight scale ${state.scale}, ${state.depth} layers. `;
    get("summary").textContent = words;
    get("values").setAttribute("aria-label", "Histogram of the singular values: " + title + words);
    get("signal").setAttribute("aria-label", "The backward signal by layer: " + title + words);
  }

  get("controls").addEventListener("input", update);
  get("controls").addEventListener("submit", (event) => event.preventDefault());
  update();
})();
