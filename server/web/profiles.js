// profiles.js - the table of what is typical of each segment: a row a feature or category, a column
// a segment, the population beside them. The tint says how far a segment stands from everyone.

import { colour, mark } from './charts.js';
import { el, figure, integer, number, percent } from './dom.js';

const FEATURES_SHOWN = 40; // more are shown when asked
const CATEGORIES_SHOWN = 8; // the most frequent values of a feature
const EFFECTS = [0.2, 0.5, 0.8]; // in standard deviations; Cohen's small, medium, large
const SHARES = [0.05, 0.15, 0.3]; // a category's share against everyone's

// "up2", "down1" or "": how far value is from 0.
function tint(value, steps) {
  const step = steps.filter((limit) => Math.abs(value) >= limit).length;
  return step === 0 ? '' : `${value > 0 ? 'up' : 'down'}${step}`;
}

function cell(text, note, tintClass, title) {
  return el('td', { class: tintClass || null, title },
    el('span', { class: 'value' }, text), note ? el('span', { class: 'note' }, note) : null);
}

function rowHead(content) {
  return el('th', { scope: 'row' }, el('span', { class: 'label' }, content));
}

function numericRow(name, features) {
  const known = features.find(Boolean);
  return el('tr', {}, rowHead(name),
    cell(figure(known.population_mean, known.type)),
    ...features.map((f) => {
      if (!f) return cell(figure(NaN));
      const ratio = f.type === 'numeric' && f.population_mean > 0 && f.lift >= 0 ? `× ${f.lift.toFixed(2)}` : null;
      const title = `median ${figure(f.median, f.type)}, 10 % below ${figure(f.p10, f.type)}, 10 % above ${figure(f.p90, f.type)}; `
        + `effect ${number(f.effect)} standard deviations; ${integer(f.present)} known`;
      return cell(figure(f.mean, f.type), ratio, tint(f.effect, EFFECTS), title);
    }));
}

function categoryRows(name, features, n_columns) {
  const everyone = new Map(); // value -> share of the population
  for (const f of features) for (const c of f?.categories ?? []) everyone.set(c.value, c.population_share);
  const values = [...everyone.keys()].sort((a, b) => everyone.get(b) - everyone.get(a));
  const rows = values.slice(0, CATEGORIES_SHOWN).map((value) => el('tr', { class: 'category' },
    rowHead(value === null ? el('em', {}, 'missing') : value),
    cell(percent(everyone.get(value))),
    ...features.map((f) => {
      const share = f?.categories.find((c) => c.value === value)?.share ?? 0;
      return cell(f ? percent(share) : figure(NaN), null, tint(share - everyone.get(value), SHARES));
    })));
  const rest = values.length - rows.length;
  const note = rest > 0 ? `; ${integer(rest)} rarer values are not shown` : '';
  return [el('tr', { class: 'group' }, rowHead(name),
    el('td', { colspan: n_columns, class: 'quiet' }, `share of each value${note}`)),
  ...rows];
}

// Names in the order of the model; when there are too many, those that tell segments apart most.
function featureNames(segments, all) {
  const effect = new Map();
  for (const s of segments)
    for (const f of s.features) effect.set(f.name, Math.max(effect.get(f.name) ?? 0, Math.abs(f.effect ?? 0)));
  const names = [...effect.keys()];
  if (all || names.length <= FEATURES_SHOWN) return { names, n_hidden: 0 };
  const chosen = new Set([...names].sort((a, b) => effect.get(b) - effect.get(a)).slice(0, FEATURES_SHOWN));
  return { names: names.filter((name) => chosen.has(name)), n_hidden: names.length - chosen.size };
}

function heading(segment, index) {
  return el('th', { scope: 'col', class: `segment ${colour(index)}` },
    el('span', { class: 'name' }, mark(index), segment.name),
    el('span', { class: 'note' }, `${integer(segment.size)} users, ${percent(segment.share)}`));
}

function textRow(name, segments, text) {
  return el('tr', { class: 'words' }, rowHead(name), el('td'), ...segments.map((s) => el('td', {}, text(s))));
}

function key() {
  const steps = ['down3', 'down2', 'down1', '', 'up1', 'up2', 'up3'];
  return el('p', { class: 'key' }, el('span', {}, 'far below everyone'),
    el('span', { class: 'ramp', 'aria-hidden': 'true' }, ...steps.map((step) => el('i', { class: step || null }))),
    el('span', {}, 'far above'),
    el('span', { class: 'quiet' }, 'Means of the known values; × is the ratio to the mean of everyone.'));
}

export function profiles(segments, all = false) {
  const { names, n_hidden } = featureNames(segments, all);
  const rows = names.flatMap((name) => {
    const features = segments.map((s) => s.features.find((f) => f.name === name));
    return features.some((f) => f?.categories) ? categoryRows(name, features, segments.length + 1) : [numericRow(name, features)];
  });
  const table = el('table', { class: 'profiles' },
    el('caption', { class: 'hidden' }, 'Each segment against the whole population'),
    el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Feature'), el('th', { scope: 'col' }, 'Everyone'), ...segments.map(heading))),
    el('tbody', {}, ...rows,
      el('tr', {}, rowHead('silhouette'), el('td'), ...segments.map((s) => cell(number(s.quality?.silhouette ?? NaN)))),
      textRow('in words', segments, (s) => s.description ?? ''),
      textRow('typical users', segments, (s) => (s.exemplars ?? []).join(', '))));
  const parts = [key(), el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Profiles of the segments' }, table)];
  if (n_hidden > 0) {
    const button = el('button', { type: 'button' }, `Show ${integer(n_hidden)} more features`);
    button.addEventListener('click', () => button.parentElement.replaceChildren(...profiles(segments, true)));
    parts.push(button);
  }
  return parts;
}
