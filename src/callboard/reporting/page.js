"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const DASHES = ["", "6 4", "2 4", "9 3 2 3"];
  const el = (parent, name, attributes = {}, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  const shown = (value) => {
    if (value === null) return "no finite value";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3).replace(/\.?0+e/, "e");
    return String(+value.toPrecision(5));
  };
  const tickText = (value) => {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential().replace(/(\.\d\d)\d+e/, "$1e");
    return String(+value.toPrecision(6));
  };
  const ticks = (low, high, count, whole) => {
    const rough = (high - low) / Math.max(count, 1);
    const power = 10 ** Math.floor(Math.log10(rough));
    let step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((each) => each >= rough * 0.999);
    if (whole) step = Math.max(1, Math.round(step));
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
    return found;
  };
  const logTicks = (low, high) => {
    const found = [];
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const every = Math.ceil((last - first) / 6);
    for (let p = first; p <= last; p += every) {
      for (const m of last - first <= 1 ? [1, 2, 3, 5] : last - first <= 3 ? [1, 3] : [1]) {
        const value = m * 10 ** p;
        if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
      }
    }
    return found;
  };
  const color = (series) => `var(--c${series.color % 8})`;

  const chart = (panel, figure) => {
    const plot = figure.querySelector(".plot");
    const button = figure.querySelector("button");
    const x = panel.x, n = x.length;
    const all = panel.series.flatMap((s) => s.y).filter((v) => v !== null);
    let logarithmic = panel.log, chosen = -1, draw, tip;
    const extent = () => {
      let low = Infinity, high = -Infinity;
      for (const v of all) { if (v < low) low = v; if (v > high) high = v; }
      if (!all.length) return [0, 1];
      if (logarithmic) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
      const room = (high - low || Math.abs(high) || 1) * 0.07;
      return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
    };
    const render = () => {
      const width = plot.clientWidth;
      if (!width) return;
      const height = Math.round(Math.max(190, Math.min(300, width * 0.52)));
      const [low, high] = extent();
      const yTicks = logarithmic ? logTicks(low, high) : ticks(low, high, 5, false);
      const left = 12 + 7 * Math.max(2, ...yTicks.map((v) => tickText(v).length));
      const right = 14, top = 16, bottom = 38;
      const first = x[0], last = x[n - 1], span = last - first || 1;
      const px = (value) => n === 1 ? (left + width - right) / 2 : left + (value - first) / span * (width - left - right);
      const scale = logarithmic ? Math.log : (v) => v;
      const py = (value) => top + (scale(high) - scale(value)) / (scale(high) - scale(low)) * (height - top - bottom);
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      svg.setAttribute("aria-hidden", "true");
      for (const value of yTicks) {
        el(svg, "line", { class: "grid", x1: left, x2: width - right, y1: py(value), y2: py(value) });
        el(svg, "text", { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, tickText(value));
      }
      el(svg, "line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom });
      const xTicks = n === 1 ? [first] : ticks(first, last, (width - left) / 80, true);
      for (const value of xTicks) el(svg, "text", { x: px(value), y: height - bottom + 17, "text-anchor": "middle" }, value.toLocaleString("en"));
      el(svg, "text", { x: width - right, y: height - 4, "text-anchor": "end" }, "epoch");
      for (const mark of data.marks) {
        if (mark.kind === "saved") {
          el(svg, "circle", { class: "flag", cx: px(mark.x), cy: height - bottom, r: 2.5 });
          continue;
        }
        el(svg, "line", { class: "mark", x1: px(mark.x), x2: px(mark.x), y1: top - 4, y2: height - bottom });
        const sign = { stopped: "h8v8h-8z", reduced: "h8l-4 8z" }[mark.kind] || "l4 -4l4 4l-4 4z";
        el(svg, "path", { class: "flag", d: `M${px(mark.x) - 4} ${top - (sign[0] === "l" ? 8 : 12)}${sign}` });
      }
      for (const series of panel.series) {
        let path = "", bridge = "", before = null, gap = false, alone = [];
        series.y.forEach((value, i) => {
          if (value === null) { gap = true; return; }
          const at = `${px(x[i]).toFixed(1)} ${py(value).toFixed(1)}`;
          const step = series.step && before !== null && !gap ? `H${px(x[i]).toFixed(1)}` : "";
          if (before === null || gap) {
            if (before !== null) bridge += `M${before}L${at}`;
            path += `M${at}`;
            if (i + 1 >= n || series.y[i + 1] === null) alone.push([px(x[i]), py(value)]);
          } else path += `${step}L${at}`;
          before = at; gap = false;
        });
        if (bridge) el(svg, "path", { class: "bridge", d: bridge, stroke: color(series) });
        el(svg, "path", { class: `curve${series.thin ? " thin" : ""}`, d: path || "M0 0", stroke: color(series), "stroke-dasharray": DASHES[series.dash % 4] });
        for (const [cx, cy] of alone) el(svg, "circle", { cx, cy, r: n > 400 ? 1.4 : 3, fill: color(series) });
      }
      if (panel.best) {
        const cx = px(panel.best.x), cy = py(panel.best.y), beyond = cx > width * 0.7;
        el(svg, "circle", { class: "best", cx, cy, r: 5, stroke: color(panel.series[panel.best.series]) });
        const above = cy > (top + height - bottom) / 2;
        el(svg, "text", { class: "label", x: cx + (beyond ? -9 : 9), y: cy + (above ? -10 : 20), "text-anchor": beyond ? "end" : "start", style: `fill:${color(panel.series[panel.best.series])}` }, shown(panel.best.y));
      }
      const cross = el(svg, "g");
      plot.replaceChildren(svg);
      tip = document.createElement("div");
      tip.className = "tip"; tip.hidden = true; tip.setAttribute("aria-hidden", "true");
      plot.append(tip);
      draw = () => {
        cross.replaceChildren();
        tip.hidden = chosen < 0;
        if (chosen < 0) return;
        const cx = px(x[chosen]);
        el(cross, "line", { class: "cross", x1: cx, x2: cx, y1: top, y2: height - bottom });
        tip.replaceChildren();
        const add = (name, text, tint) => {
          const line = document.createElement(name);
          line.textContent = text;
          if (tint) line.style.color = tint;
          tip.append(line);
        };
        add("b", `epoch ${x[chosen].toLocaleString("en")}`);
        for (const series of panel.series) {
          const value = series.y[chosen];
          if (value === undefined || (value === null && data.runs > 1)) continue;
          add("div", `${series.label} ${shown(value)}`, color(series));
          if (value !== null) el(cross, "circle", { cx, cy: py(value), r: 4, fill: color(series) });
        }
        for (const mark of data.marks) if (mark.x === x[chosen] && mark.text) add("i", mark.text);
        const wide = tip.offsetWidth;
        tip.style.left = `${Math.max(0, Math.min(width - wide, cx > width / 2 ? cx - wide - 12 : cx + 12))}px`;
      };
      plot.onpointermove = (event) => {
        const at = event.clientX - plot.getBoundingClientRect().left;
        const value = first + (at - left) / (width - left - right) * span;
        let a = 0, b = n - 1;
        while (b - a > 1) { const m = (a + b) >> 1; if (x[m] < value) a = m; else b = m; }
        choose(value - x[a] < x[b] - value ? a : b);
      };
      draw();
    };
    const choose = (index) => {
      chosen = index;
      if (chosen >= 0) {
        plot.setAttribute("aria-valuenow", x[chosen]);
        plot.setAttribute("aria-valuetext", `epoch ${x[chosen]}: ` + panel.series.map((s) => `${s.label} ${shown(s.y[chosen])}`).join(", "));
      }
      if (draw) draw();
    };
    plot.onpointerleave = () => choose(-1);
    plot.onblur = () => choose(-1);
    plot.onkeydown = (event) => {
      const from = chosen < 0 ? n - 1 : chosen, page = Math.max(1, Math.round(n / 10));
      const to = { ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1, Home: 0, End: n - 1, PageUp: from + page, PageDown: from - page, Escape: -2 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(to === -2 ? -1 : Math.max(0, Math.min(n - 1, to)));
    };
    if (button) {
      button.setAttribute("aria-pressed", logarithmic);
      button.onclick = () => { logarithmic = !logarithmic; button.setAttribute("aria-pressed", logarithmic); render(); };
    }
    let width = 0;
    new ResizeObserver(() => { if (plot.clientWidth !== width) { width = plot.clientWidth; render(); } }).observe(plot);
    render();
    width = plot.clientWidth;
  };
  document.querySelectorAll(".panel").forEach((figure, i) => chart(data.panels[i], figure));
})();
