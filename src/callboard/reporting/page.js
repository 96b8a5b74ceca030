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
  const powerText = (value) => {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e5)) return (+value.toPrecision(3)).toExponential();
    return String(+value.toPrecision(6));
  };
  // The ticks of one axis have as many digits as the longest one needs, and one exponent.
  const tickTexts = (values) => {
    const size = Math.max(...values.map(Math.abs), 0);
    const exponent = size && (size < 1e-3 || size >= 1e6) ? Math.floor(Math.log10(size)) : 0;
    const scaled = values.map((value) => (Math.abs(value) < size * 1e-9 ? 0 : value / 10 ** exponent));
    const digits = Math.max(0, ...scaled.map((value) => (String(+value.toPrecision(6)).split(".")[1] || "").length));
    return scaled.map((value) => {
      const text = value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
      return exponent && value ? `${text}e${exponent}` : text;
    });
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
  const ruler = document.createElement("canvas").getContext("2d");
  ruler.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
  const widthOf = (text) => ruler.measureText(text).width;
  const fitted = (text, room) => {
    for (let kept = text.length; kept > 2; kept--) {
      const start = Math.ceil(kept / 2);
      const cut = kept === text.length ? text : `${text.slice(0, start)}…${text.slice(text.length - kept + start)}`;
      if (widthOf(cut) <= room) return cut;
    }
    return "…";
  };
  // Moves what is closer than a line of text apart, no farther than needed, between two bounds.
  const spread = (labels, top, bottom, gap) => {
    labels.sort((a, b) => a.at - b.at);
    labels.forEach((label, i) => { label.y = Math.max(label.at, i ? labels[i - 1].y + gap : top); });
    let limit = bottom;
    for (const label of [...labels].reverse()) { label.y = Math.min(label.y, limit); limit = label.y - gap; }
  };

  const chart = (panel, figure) => {
    const plot = figure.querySelector(".plot");
    const button = figure.querySelector("button");
    const x = panel.x, n = x.length;
    const legend = figure.querySelector(".legend");
    const all = panel.series.flatMap((s) => s.y).filter((v) => v !== null);
    let logarithmic = panel.log, chosen = -1, draw, tip;
    const extent = () => {
      let low = Infinity, high = -Infinity;
      for (const v of all) { if (v < low) low = v; if (v > high) high = v; }
      if (!all.length) return [0, 1];
      if (logarithmic) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
      if (low === high) return [low - (Math.abs(low) / 2 || 1), high + (Math.abs(high) / 2 || 1)];
      const room = (high - low) * 0.07;
      return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
    };
    const render = () => {
      const width = plot.clientWidth;
      if (!width) return;
      const height = Math.round(Math.max(190, Math.min(300, width * 0.52)));
      const [low, high] = extent();
      const constant = all.length && all.every((v) => v === all[0]);
      const yTicks = constant ? [all[0]] : logarithmic ? logTicks(low, high) : ticks(low, high, 5, false);
      const yTexts = logarithmic || constant ? yTicks.map(powerText) : tickTexts(yTicks);
      const left = 12 + 7 * Math.max(2, ...yTexts.map((text) => text.length));
      const top = 16, bottom = 38;
      const ends = panel.series.filter((s) => s.end && s.y.some((v) => v !== null)).map((series) => ({ series }));
      const labelled = ends.length * 15 <= height - top - bottom;
      legend.hidden = labelled;
      for (const end of labelled ? ends : []) end.text = fitted(end.series.end, Math.min(width * 0.3, 200));
      const right = labelled && ends.length ? 24 + Math.max(...ends.map((end) => widthOf(end.text))) : 14;
      const first = x[0], last = x[n - 1], span = last - first || 1;
      const px = (value) => n === 1 ? (left + width - right) / 2 : left + (value - first) / span * (width - left - right);
      const scale = logarithmic ? Math.log : (v) => v;
      const py = (value) => top + (scale(high) - scale(value)) / (scale(high) - scale(low)) * (height - top - bottom);
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      svg.setAttribute("aria-hidden", "true");
      yTicks.forEach((value, i) => {
        el(svg, "line", { class: "grid", x1: left, x2: width - right, y1: py(value), y2: py(value) });
        el(svg, "text", { x: left - 8, y: py(value) + 4, "text-anchor": "end" }, yTexts[i]);
      });
      el(svg, "line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom });
      const xTicks = n === 1 ? [first] : ticks(first, last, (width - left) / 80, true);
      for (const value of xTicks) {
        const text = value.toLocaleString("en");
        el(svg, "text", { x: Math.min(px(value), width - widthOf(text) / 2 - 1), y: height - bottom + 17, "text-anchor": "middle" }, text);
      }
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
        el(svg, "path", { class: `curve${series.thin ? " thin" : ""}${n > 600 ? " dense" : ""}`, d: path || "M0 0", stroke: color(series), "stroke-dasharray": DASHES[series.dash % 4] });
        for (const [cx, cy] of alone) el(svg, "circle", { cx, cy, r: n > 400 ? 1.4 : 3, fill: color(series) });
      }
      if (labelled) {
        for (const end of ends) {
          end.last = end.series.y.findLastIndex((v) => v !== null);
          end.at = py(end.series.y[end.last]);
        }
        spread(ends, top + 4, height - bottom - 2, 15);
        for (const { series, text, last, at, y } of ends) {
          const from = px(x[last]) + 4, to = width - right + 7, tint = color(series);
          if (to - from > 12 || Math.abs(y - at) > 3) el(svg, "path", { class: "leader", d: `M${from} ${at}H${Math.max(from, width - right)}L${to} ${y}`, stroke: tint });
          const label = el(svg, "text", { class: "label", x: to + 4, y: y + 4, style: `fill:${tint}` }, text);
          if (text !== series.end) el(label, "title", {}, series.end);
        }
      }
      if (panel.best) {
        const cx = px(panel.best.x), cy = py(panel.best.y), tint = color(panel.series[panel.best.series]);
        const text = shown(panel.best.y), wide = widthOf(text);
        // The place beside the point that curves cross least.
        const places = [[9, -9], [-9 - wide, -9], [9, 19], [-9 - wide, 19], [-wide / 2, -12], [-wide / 2, 22]].map(([dx, dy]) => {
          const x0 = cx + dx - 3, x1 = cx + dx + wide + 3, y0 = cy + dy - 11, y1 = cy + dy + 4;
          let crossed = x0 < left || x1 > width - right + 4 || y0 < top - 8 || y1 > height - bottom ? 1e6 : 0;
          for (const series of panel.series) {
            let before = null;
            series.y.forEach((value, i) => {
              const here = value === null ? null : [px(x[i]), py(value)];
              if (here && before && here[0] > x0 && before[0] < x1) {
                for (let k = 0; k <= 8; k++) {
                  const sx = before[0] + (here[0] - before[0]) * k / 8, sy = before[1] + (here[1] - before[1]) * k / 8;
                  if (sx > x0 && sx < x1 && sy > y0 && sy < y1) crossed++;
                }
              }
              before = here;
            });
          }
          return { crossed, dx, dy };
        });
        const best = places.reduce((a, b) => (b.crossed < a.crossed ? b : a));
        if (best.crossed) el(svg, "rect", { class: "plate", x: cx + best.dx - 4, y: cy + best.dy - 13, width: wide + 8, height: 18, rx: 4 });
        el(svg, "circle", { class: "best", cx, cy, r: 5, stroke: tint });
        el(svg, "text", { class: "label", x: cx + best.dx, y: cy + best.dy, style: `fill:${tint}` }, text);
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
