// charts.js - the scatter and its marks. Drawn by hand: one scatter and bars that are rectangles do
// not earn a chart library yet, which would be a thousand times this file to ship and to audit.
// A group is told by colour and by shape: 7 colours that colour-blind people tell apart, 8 shapes,
// so that the first 56 groups all differ.

import { el, number, percent, svg } from './dom.js';

const COLOURS = 7; // .c0 to .c6 in style.css
const SHAPES = [ // corners around the origin; a circle has none
  [],
  [[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]],
  [[0, -1.15], [1.1, 0.8], [-1.1, 0.8]],
  [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
  [[0, 1.15], [1.1, -0.8], [-1.1, -0.8]],
  [[-0.4, -1.1], [0.4, -1.1], [0.4, -0.4], [1.1, -0.4], [1.1, 0.4], [0.4, 0.4], [0.4, 1.1], [-0.4, 1.1], [-0.4, 0.4], [-1.1, 0.4],
    [-1.1, -0.4], [-0.4, -0.4]],
  [[-1.1, 0.8], [-0.55, -0.9], [0.55, -0.9], [1.1, 0.8]],
  [[0, -1.2], [1.14, -0.37], [0.71, 0.97], [-0.71, 0.97], [-1.14, -0.37]],
];

export const colour = (index) => `c${index % COLOURS}`;

// Path data of the group's shape around (x, y), r from the middle to about its edge.
function outline(index, x, y, r) {
  const corners = SHAPES[index % SHAPES.length];
  if (!corners.length) return `M${(x - r).toFixed(1)} ${y.toFixed(1)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
  return `M${corners.map(([dx, dy]) => `${(x + r * dx).toFixed(1)} ${(y + r * dy).toFixed(1)}`).join('L')}z`;
}

export function mark(index) {
  return svg('svg', { class: `mark ${colour(index)}`, viewBox: '-7 -7 14 14', 'aria-hidden': 'true' },
    svg('path', { d: outline(index, 0, 0, 5) }));
}

export function bar(index, share) {
  return svg('svg', { class: `share ${colour(index)}`, 'aria-hidden': 'true' },
    svg('rect', { class: 'rail', width: '100%', height: '100%', rx: 4 }),
    svg('rect', { width: `${(100 * clamp(share, 0, 1)).toFixed(2)}%`, height: '100%', rx: 4 }));
}

// Round values inside [low, high], about n of them.
function ticks(low, high, n) {
  const raw = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const values = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) values.push(i * step);
  return values;
}

// The range of an axis. A few far-off points must not press all others into a corner: what lies
// beyond half the width of the middle 98 % is drawn at the edge.
function extent(points, axis) {
  const values = points.map((p) => p[axis]).sort((a, b) => a - b);
  const at = (share) => values[Math.round(share * (values.length - 1))];
  const reach = (at(0.99) - at(0.01)) / 2;
  const low = Math.max(at(0), at(0.01) - reach), high = Math.min(at(1), at(0.99) + reach);
  const margin = high > low ? (high - low) * 0.04 : 1;
  return [low - margin, high + margin];
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// ["PC 1: 46.8 % of the variance", "; more browsing_minutes, less age"]
function axisTitle(projection, axis) {
  const loadings = projection.axes[axis]
    .map((weight, i) => ({ weight, name: projection.columns[i] }))
    .filter((loading) => Math.abs(loading.weight) >= 0.3)
    .sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight))
    .slice(0, 2)
    .map((loading) => `${loading.weight > 0 ? 'more' : 'less'} ${loading.name}`);
  const share = `PC ${axis + 1}: ${percent(projection.explained[axis])} of the variance`;
  return [share, loadings.length ? `; ${loadings.join(', ')}` : ''];
}

function summarise(points, groups) {
  const sums = groups.map(() => ({ n: 0, x: 0, y: 0 }));
  for (const p of points) {
    const s = sums[p.group];
    s.n += 1;
    s.x += p.x;
    s.y += p.y;
  }
  return sums.map((s) => ({ n: s.n, x: s.x / s.n, y: s.y / s.n }));
}

const SIZE = { width: 760, height: 520, left: 46, right: 12, top: 12, bottom: 46 };
const DOT = 3.2;
const DOTS_OF_PATH = 24;
const REACH = 24; // units of the drawing within which the pointer finds a point

// groups: [{name}], points: [{x, y, group}] with group an index of groups.
// say(text or null, x, y): shows the tooltip at a place of the window.
export function scatter(projection, points, groups, say) {
  const { width, height, left, right, top, bottom } = SIZE;
  const [xLow, xHigh] = extent(points, 'x'), [yLow, yHigh] = extent(points, 'y');
  const px = (x) => left + ((clamp(x, xLow, xHigh) - xLow) / (xHigh - xLow)) * (width - left - right);
  const py = (y) => height - bottom - ((clamp(y, yLow, yHigh) - yLow) / (yHigh - yLow)) * (height - top - bottom);
  const n_beyond = points.filter((p) => p.x < xLow || p.x > xHigh || p.y < yLow || p.y > yHigh).length;
  const centres = summarise(points, groups);
  const spans = ([share, loadings]) => [share, svg('tspan', { class: 'loadings' }, loadings)];
  const titles = [axisTitle(projection, 0), axisTitle(projection, 1)];

  const grid = svg('g', { class: 'grid' });
  for (const x of ticks(xLow, xHigh, 7))
    grid.append(svg('line', { x1: px(x), x2: px(x), y1: top, y2: height - bottom }),
      svg('text', { x: px(x), y: height - bottom + 17, 'text-anchor': 'middle' }, number(x)));
  for (const y of ticks(yLow, yHigh, 5))
    grid.append(svg('line', { x1: left, x2: width - right, y1: py(y), y2: py(y) }),
      svg('text', { x: left - 8, y: py(y) + 4, 'text-anchor': 'end' }, number(y)));
  const axes = svg('g', { class: 'axis-titles' },
    svg('text', { x: (left + width - right) / 2, y: height - 6, 'text-anchor': 'middle' }, ...spans(titles[0])),
    svg('text', { transform: `translate(11 ${(top + height - bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' }, ...spans(titles[1])));

  // A path holds some dozens of dots: an element a dot would be slow, and dots of one path do not
  // darken each other where they are dense. Small groups are drawn over large ones.
  const layers = groups.map((group, g) => svg('g', { class: `dots ${colour(g)}` }));
  const drawings = groups.map(() => []);
  for (const p of points) drawings[p.group].push(outline(p.group, px(p.x), py(p.y), DOT));
  layers.forEach((layer, g) => {
    for (let i = 0; i < drawings[g].length; i += DOTS_OF_PATH)
      layer.append(svg('path', { d: drawings[g].slice(i, i + DOTS_OF_PATH).join('') }));
  });
  const order = groups.map((_, g) => g).sort((a, b) => centres[b].n - centres[a].n);
  const cursor = svg('circle', { class: 'cursor', r: 7, visibility: 'hidden' });

  const plot = svg('svg', {
    class: 'scatter', viewBox: `0 0 ${width} ${height}`, role: 'img', tabindex: 0,
    'aria-label': `Scatter of ${points.length} users in ${groups.length} groups; arrow keys visit the centre of each group`,
  }, grid, axes, ...order.map((g) => layers[g]), cursor);

  let picked = -1; // the group that the arrow keys stand on
  const place = (x, y) => {
    const box = plot.getBoundingClientRect();
    const scale = box.width / width;
    return [box.left + x * scale, box.top + y * scale];
  };
  const clear = () => {
    cursor.setAttribute('visibility', 'hidden');
    say(null);
  };
  const show = (x, y, text) => {
    cursor.setAttribute('cx', x);
    cursor.setAttribute('cy', y);
    cursor.setAttribute('visibility', 'visible');
    say(text, ...place(x, y));
  };
  plot.addEventListener('pointermove', (event) => {
    const box = plot.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width, y = ((event.clientY - box.top) / box.height) * height;
    let best = null, nearest = REACH * REACH;
    for (const p of points) {
      const distance = (px(p.x) - x) ** 2 + (py(p.y) - y) ** 2;
      if (distance < nearest) {
        nearest = distance;
        best = p;
      }
    }
    if (best) show(px(best.x), py(best.y), `${groups[best.group].name} (${number(best.x)}, ${number(best.y)})`);
    else clear();
  });
  plot.addEventListener('pointerleave', clear);
  plot.addEventListener('blur', clear);
  plot.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === 'Escape') clear();
    if (!step) return;
    event.preventDefault();
    do picked = (picked + step + groups.length) % groups.length; while (centres[picked].n === 0);
    const c = centres[picked];
    show(px(c.x), py(c.y), `${groups[picked].name}: centre of ${c.n} points at (${number(c.x)}, ${number(c.y)})`);
  });

  const only = (g) => layers.forEach((layer, i) => layer.classList.toggle('faint', g >= 0 && i !== g));
  const legend = el('ul', { class: 'legend' });
  const buttons = groups.map((group, g) => {
    const button = el('button', { type: 'button', 'aria-pressed': 'false' }, mark(g), el('span', {}, group.name));
    const pressed = () => buttons.findIndex((b) => b.getAttribute('aria-pressed') === 'true');
    button.addEventListener('pointerenter', () => only(g));
    button.addEventListener('pointerleave', () => only(pressed()));
    button.addEventListener('click', () => {
      const on = pressed() !== g;
      buttons.forEach((b) => b.setAttribute('aria-pressed', String(on && b === button)));
      only(on ? g : -1);
    });
    return button;
  });
  legend.append(...buttons.map((button) => el('li', {}, button)));

  const rows = groups.map((group, g) => el('tr', {},
    el('th', { scope: 'row' }, mark(g), group.name),
    ...[String(centres[g].n), number(centres[g].x), number(centres[g].y)].map((text) => el('td', {}, text))));
  const twin = el('details', {}, el('summary', {}, 'The map as a table'),
    el('p', { class: 'quiet' }, titles.map((title) => `${title.join('')}.`).join(' ')),
    el('div', { class: 'scroll' }, el('table', {},
      el('thead', {}, el('tr', {}, ...['Group', 'Points', 'Centre, PC 1', 'Centre, PC 2'].map((text) => el('th', { scope: 'col' }, text)))),
      el('tbody', {}, ...rows))));
  const beyond = n_beyond ? [el('p', { class: 'quiet' }, `${n_beyond} far-off points are drawn at the edge.`)] : [];
  return [legend, plot, ...beyond, twin];
}
