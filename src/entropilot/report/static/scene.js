"use strict";
(() => {
  const data = JSON.parse(document.getElementById("scene-data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const { frames, points, dims, size, times } = data;
  const packed = new Uint16Array(bytes(data.positions).buffer);
  const ways = data.directions ? new Int8Array(bytes(data.directions).buffer) : null;
  const shades = data.colours ? bytes(data.colours) : null;
  const view = document.getElementById("view");
  const ink = view.getContext("2d");
  const slider = document.getElementById("time");
  slider.max = String(frames - 1);
  const reach = Math.max(...size) || 1;
  const flat = dims === 2;

  // colours: blue over green to gold, in 64 steps
  const stops = [[74, 95, 208], [47, 159, 214], [63, 208, 176], [184, 226, 106], [255, 210, 90]];
  const palette = Array.from({ length: 64 }, (_, i) => {
    const at = (i / 63) * (stops.length - 1);
    const k = Math.min(Math.floor(at), stops.length - 2);
    return stops[k].map((v, c) => Math.round(v + (stops[k + 1][c] - v) * (at - k)));
  });

  const home = () => ({ azimuth: -0.9, elevation: 0.42, zoom: 1, x: 0, y: 0 });
  let camera = home();
  let frame = 0;
  let playing = false;
  let last = 0;
  let dragged = null;

  function place(index, axis) {
    return (packed[index * dims + axis] / 65535 - 0.5) * size[axis];
  }

  function projector(width, height) {
    const scale = (flat
      ? Math.min(width / (size[0] || 1), height / (size[1] || 1)) * 0.92
      : (Math.min(width * 0.8, height) / reach) * 0.55) * camera.zoom;
    const ca = Math.cos(camera.azimuth), sa = Math.sin(camera.azimuth);
    const ce = Math.cos(camera.elevation), se = Math.sin(camera.elevation);
    const far = 2.6 * reach;
    return (x, y, z, out) => {
      if (flat) {
        out[0] = width / 2 + camera.x + x * scale;
        out[1] = height / 2 + camera.y - y * scale;
        out[2] = 0;
        out[3] = scale;
        return;
      }
      const u = ca * x - sa * y, v = sa * x + ca * y;
      const depth = ce * v - se * z, up = se * v + ce * z;
      const near = (scale * far) / (far + depth);
      out[0] = width / 2 + camera.x + u * near;
      out[1] = height / 2 + camera.y - up * near;
      out[2] = depth / reach;
      out[3] = near;
    };
  }

  function drawBox(project) {
    const corner = [0, 0, 0, 0];
    const [a, b, c] = [size[0] / 2, size[1] / 2, flat ? 0 : size[2] / 2];
    const edges = flat
      ? [[0, 1], [1, 3], [3, 2], [2, 0]]
      : [[0, 1], [1, 3], [3, 2], [2, 0], [4, 5], [5, 7], [7, 6], [6, 4], [0, 4], [1, 5], [2, 6], [3, 7]];
    const spots = Array.from({ length: flat ? 4 : 8 }, (_, i) => {
      project(i & 1 ? a : -a, i & 2 ? b : -b, i & 4 ? c : -c, corner);
      return corner.slice(0, 2);
    });
    ink.strokeStyle = "rgba(160,180,220,0.28)";
    ink.lineWidth = 1;
    ink.beginPath();
    for (const [i, j] of edges) {
      ink.moveTo(spots[i][0], spots[i][1]);
      ink.lineTo(spots[j][0], spots[j][1]);
    }
    ink.stroke();
  }

  function shade(index, point) {
    if (!shades) return palette[24];
    return palette[shades[data.moving ? index : point] >> 2];
  }

  function jumps(from, to) {
    if (!data.periodic) return false;
    for (let axis = 0; axis < dims; axis++) {
      if (Math.abs(packed[from * dims + axis] - packed[to * dims + axis]) > 32768) return true;
    }
    return false;
  }

  function drawTrails(project) {
    const first = Math.max(0, frame - data.trail);
    if (first === frame) return;
    const a = [0, 0, 0, 0], b = [0, 0, 0, 0];
    ink.lineWidth = 1.4;
    for (let point = 0; point < points; point++) {
      const [red, green, blue] = shade(frame * points + point, point);
      for (let f = first; f < frame; f++) {
        const from = f * points + point, to = from + points;
        if (jumps(from, to)) continue;
        project(place(from, 0), place(from, 1), flat ? 0 : place(from, 2), a);
        project(place(to, 0), place(to, 1), flat ? 0 : place(to, 2), b);
        ink.strokeStyle = `rgba(${red},${green},${blue},${0.65 * (f - first + 1) / (frame - first)})`;
        ink.beginPath();
        ink.moveTo(a[0], a[1]);
        ink.lineTo(b[0], b[1]);
        ink.stroke();
      }
    }
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = view.clientWidth, height = view.clientHeight;
    if (view.width !== Math.round(width * ratio) || view.height !== Math.round(height * ratio)) {
      view.width = Math.round(width * ratio);
      view.height = Math.round(height * ratio);
    }
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.fillStyle = "#0b1020";
    ink.fillRect(0, 0, width, height);
    const project = projector(width, height);
    drawBox(project);
    if (data.trail) drawTrails(project);
    const seen = new Float32Array(points * 4), spot = [0, 0, 0, 0];
    project(0, 0, 0, spot);
    const projected = spot[3];  // pixels a unit of length in the middle of the box
    const order = new Array(points);
    for (let point = 0; point < points; point++) {
      const index = frame * points + point;
      project(place(index, 0), place(index, 1), flat ? 0 : place(index, 2), spot);
      seen.set(spot, point * 4);
      order[point] = point;
    }
    if (!flat) order.sort((p, q) => seen[q * 4 + 2] - seen[p * 4 + 2]);
    const fit = Math.max(1.3, Math.min(6.5, (0.16 * reach * projected) / Math.pow(points, 0.5)));
    for (const point of order) {
      const x = seen[point * 4], y = seen[point * 4 + 1];
      const depth = seen[point * 4 + 2], near = seen[point * 4 + 3];
      const index = frame * points + point;
      const [red, green, blue] = shade(index, point);
      const light = flat ? 1 : Math.max(0.4, Math.min(1, 0.85 - 0.5 * depth));
      ink.fillStyle = `rgb(${Math.round(red * light)},${Math.round(green * light)},${Math.round(blue * light)})`;
      const radius = data.radii ? Math.max(0.7, data.radii[point] * near) : fit * (flat ? 1 : 1 - 0.45 * depth);
      if (ways) {
        const base = index * dims;
        const long = (radius * 2.4) / near / 127;
        project(place(index, 0) + ways[base] * long, place(index, 1) + ways[base + 1] * long,
          flat ? 0 : place(index, 2) + ways[base + 2] * long, spot);
        const dx = spot[0] - x, dy = spot[1] - y;
        const norm = Math.hypot(dx, dy) || 1;
        const sx = (-dy / norm) * radius * 0.8, sy = (dx / norm) * radius * 0.8;
        ink.beginPath();  // a drop: round in front, thin behind
        ink.moveTo(x - dx, y - dy);
        ink.quadraticCurveTo(x + sx, y + sy, x + dx, y + dy);
        ink.quadraticCurveTo(x - sx, y - sy, x - dx, y - dy);
        ink.fill();
      }
      if (!ways || data.radii) {
        ink.beginPath();
        ink.arc(x, y, radius, 0, 2 * Math.PI);
        ink.fill();
      }
    }
    document.getElementById("clock").textContent =
      `t = ${times[frame]}${data.timeUnit ? " " + data.timeUnit : ""}`;
    slider.value = String(frame);
    curves.forEach((curve) => curve());
  }

  // curves
  const style = () => getComputedStyle(document.documentElement);
  const curves = data.series.map((series) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const now = document.createElement("span");
    caption.append(series.name, now);
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${series.name} over time`);
    figure.append(caption, canvas);
    document.getElementById("curves").append(figure);
    const real = series.values.filter((v) => v !== null);
    let bottom = Math.min(...real), top = Math.max(...real);
    if (!(top > bottom)) { bottom -= 0.5; top += 0.5; }
    const short = (v) => (Math.abs(v) >= 1e4 || (v !== 0 && Math.abs(v) < 1e-3) ? v.toExponential(1) : String(+v.toPrecision(3)));
    // a tick needs no more digits than tell it from the next one
    const digits = Math.max(0, 1 - Math.floor(Math.log10(top - bottom)));
    const tick = (v) => (digits > 4 || Math.abs(v) >= 1e4 ? v.toExponential(1) : v.toFixed(digits));
    const left = 46, under = 18;
    const seek = (event) => {
      const share = (event.offsetX - left) / (canvas.clientWidth - left - 6);
      show(Math.round(share * (frames - 1)));
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); seek(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
    return () => {
      const ratio = window.devicePixelRatio || 1;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      const colours = style();
      const x = (f) => left + (f / Math.max(1, frames - 1)) * (width - left - 6);
      const y = (v) => 8 + (1 - (v - bottom) / (top - bottom)) * (height - under - 16);
      pen.font = "11px system-ui, sans-serif";
      pen.fillStyle = colours.getPropertyValue("--faint");
      pen.strokeStyle = colours.getPropertyValue("--rule");
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      for (const value of [bottom, (bottom + top) / 2, top]) {
        pen.beginPath();
        pen.moveTo(left, y(value));
        pen.lineTo(width - 6, y(value));
        pen.stroke();
        pen.fillText(tick(value), left - 6, y(value));
      }
      pen.textBaseline = "alphabetic";
      pen.textAlign = "left";
      pen.fillText(short(times[0]), left, height - 3);
      pen.textAlign = "right";
      pen.fillText(short(times[frames - 1]) + (data.timeUnit ? " " + data.timeUnit : ""), width - 6, height - 3);
      const line = (until, colour, wide) => {
        pen.strokeStyle = colours.getPropertyValue(colour);
        pen.lineWidth = wide;
        pen.beginPath();
        let down = false;
        for (let f = 0; f <= until; f++) {
          const v = series.values[f];
          if (v === null) { down = false; continue; }
          if (down) pen.lineTo(x(f), y(v)); else pen.moveTo(x(f), y(v));
          down = true;
        }
        pen.stroke();
      };
      line(frames - 1, "--bar", 1.2);
      line(frame, "--signal", 2);
      const value = series.values[frame];
      if (value !== null) {
        pen.fillStyle = colours.getPropertyValue("--signal");
        pen.beginPath();
        pen.arc(x(frame), y(value), 3.4, 0, 2 * Math.PI);
        pen.fill();
      }
      now.textContent = value === null ? "–" : `${short(value)}${series.unit ? " " + series.unit : ""}`;
    };
  });

  function show(number) {
    frame = Math.max(0, Math.min(frames - 1, number));
    draw();
  }

  function tick(now) {
    if (!playing) return;
    const speed = Number(document.getElementById("speed").value) * data.fps;
    if (now - last >= 1000 / speed) {
      const ahead = Math.min(frames, Math.max(1, Math.floor(((now - last) / 1000) * speed)));
      last = now;
      show(frame + ahead >= frames ? 0 : frame + ahead);
    }
    requestAnimationFrame(tick);
  }

  const button = document.getElementById("play");
  function play(on) {
    playing = on;
    button.textContent = on ? "Pause" : "Play";
    button.setAttribute("aria-pressed", String(on));
    if (on) { last = performance.now(); requestAnimationFrame(tick); }
  }

  button.addEventListener("click", () => play(!playing));
  slider.addEventListener("input", () => show(Number(slider.value)));
  document.getElementById("home").addEventListener("click", () => { camera = home(); draw(); });
  view.addEventListener("pointerdown", (event) => { dragged = [event.clientX, event.clientY]; view.setPointerCapture(event.pointerId); });
  view.addEventListener("pointerup", () => { dragged = null; });
  view.addEventListener("pointercancel", () => { dragged = null; });
  view.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    const dx = event.clientX - dragged[0], dy = event.clientY - dragged[1];
    dragged = [event.clientX, event.clientY];
    if (flat || event.shiftKey) {
      camera.x += dx;
      camera.y += dy;
    } else {
      camera.azimuth += dx * 0.008;
      camera.elevation = Math.max(-1.55, Math.min(1.55, camera.elevation + dy * 0.008));
    }
    draw();
  });
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    camera.zoom = Math.max(0.3, Math.min(40, camera.zoom * Math.exp(-event.deltaY * 0.0015)));
    draw();
  }, { passive: false });
  document.addEventListener("keydown", (event) => {
    if (["SELECT", "INPUT", "BUTTON"].includes(event.target.tagName)) return;
    if (event.key === " ") { event.preventDefault(); play(!playing); }
    if (event.key === "ArrowRight") show(frame + 1);
    if (event.key === "ArrowLeft") show(frame - 1);
  });
  for (const [id, value] of [["key-low", data.colourLow], ["key-high", data.colourHigh]]) {
    const place = document.getElementById(id);
    if (place && value !== undefined) {
      const fine = Math.max(0, 2 - Math.floor(Math.log10(data.colourHigh - data.colourLow || 1)));
      place.textContent = String(+(fine > 6 ? value.toPrecision(3) : value.toFixed(fine)));
    }
  }
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
  if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
})();
