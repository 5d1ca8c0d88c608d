// app.js - what is chosen, what is loaded, what is shown. Everything is read from the public API;
// the page changes nothing on the server. The choice stands in the address, so that it can be sent.

import { Problem, get, getAll, hasToken, setToken } from './api.js';
import { bar, mark, scatter } from './charts.js';
import { byId, duration, el, integer, moment, number, percent } from './dom.js';
import { isRunning, jobRows, lastJobs } from './jobs.js';
import { profiles } from './profiles.js';

const POLL_BUSY_MS = 1000;
const POLL_IDLE_MS = 15000;
const RETRY_MS_MAX = 15000;
const LIST_MAX = 1000; // models and versions in the pickers

const state = {
  models: [],
  model: null, // document of the chosen model
  version: null, // number of the chosen version
  generation: 0, // counts choices: an answer to an older one is dropped
  running: new Set(), // ids of the jobs that ran when last asked
  failures: 0, // answers in a row that did not come
};

// ---- what stands in the address ----

function chosen() {
  return new URLSearchParams(location.hash.slice(1));
}

function choose(model, version) {
  const params = new URLSearchParams({ model, ...(version ? { version } : {}) });
  history.replaceState(null, '', `#${params}`);
}

// ---- the parts of the page ----

function show(...ids) {
  for (const id of ['login', 'empty', 'model-view']) byId(id).hidden = !ids.includes(id);
}

function banner(text) {
  const element = byId('banner');
  if (element.textContent !== (text ?? '')) element.textContent = text ?? '';
  element.hidden = !text;
}

function say(text, x, y) {
  const tip = byId('tip');
  tip.hidden = text === null;
  if (text === null) return;
  tip.textContent = text;
  const width = tip.offsetWidth;
  tip.style.left = `${Math.max(8, Math.min(x + 14, document.documentElement.clientWidth - width - 8))}px`;
  tip.style.top = `${Math.max(8, y - tip.offsetHeight - 12)}px`;
}

function request(text) {
  return el('pre', {}, el('code', {}, text));
}

function showEmpty() {
  const body = '{"feature_set": "users", "algorithm": {"type": "kmeans", "k": 5}, "label": true}';
  byId('empty').replaceChildren(
    el('h1', {}, 'No models yet'),
    el('p', {}, 'Bring in a table of users, then train a model on it; both appear here.'),
    request(`curl -X POST '${location.origin}/v1/feature-sets/users/rows?id_column=id' \\\n  -H 'Content-Type: text/csv' --data-binary @users.csv`),
    request(`curl -X POST ${location.origin}/v1/models/loyalty/train \\\n  -H 'Content-Type: application/json' -d '${body}'`));
  byId('pickers').hidden = true;
  show('empty');
}

function showPickers(versions) {
  const champion = state.model.champion;
  byId('model').replaceChildren(...state.models.map((m) => el('option', { value: m.name, selected: m.name === state.model.name }, m.name)));
  byId('version').replaceChildren(...versions.map((v) => el('option', { value: v.version, selected: v.version === state.version },
    v.version === champion ? `${v.version} (champion)` : String(v.version))));
  byId('pickers').hidden = false;
}

// [label, figure, how it is read]
function metricTiles(task, metrics) {
  if (task === 'classification')
    return [
      ['Accuracy', percent(metrics.accuracy), 'of the classes given'],
      ['F1', number(metrics.f1), 'mean of the classes, up to 1'],
      ['Precision', number(metrics.precision), 'mean of the classes, up to 1'],
      ['Recall', number(metrics.recall), 'mean of the classes, up to 1'],
      ['ROC AUC', number(metrics.roc_auc), '0.5 is chance, 1 is best'],
      ['PR AUC', number(metrics.pr_auc), 'up to 1'],
      ['Log loss', number(metrics.log_loss), 'lower is better'],
    ];
  const tiles = [
    ['Silhouette', number(metrics.silhouette), `−1 to 1, higher is better; ${metrics.silhouette_method}`],
    ['Davies–Bouldin', number(metrics.davies_bouldin), 'lower is better'],
    ['Calinski–Harabasz', number(metrics.calinski_harabasz), 'higher is better'],
    ['Inertia', number(metrics.inertia), `${metrics.converged ? 'settled' : 'not settled'} after ${metrics.iterations} passes`],
  ];
  if (metrics.head) tiles.push(['Network agrees', percent(metrics.head.accuracy), 'with the segments, on the test part']);
  return tiles;
}

function showSummary(version) {
  const { metrics } = version;
  byId('title').textContent = version.model;
  const ms = Object.values(version.duration_ms).reduce((sum, part) => sum + part, 0);
  byId('subtitle').textContent = [
    `${version.task} by ${version.algorithm}`, `version ${version.version}`, `feature set ${version.feature_set}`,
    `${integer(version.data.rows)} rows`, `trained ${moment(version.created_at)} in ${duration(ms)}`,
    `measured on the ${metrics.evaluated_on} part`,
  ].join(' · ');
  byId('metrics').replaceChildren(...metricTiles(version.task, metrics).map(([label, figure, note]) =>
    el('div', {}, el('dt', {}, label), el('dd', {}, el('span', { class: 'value' }, figure), el('span', { class: 'note' }, note)))));
}

function showSizes(groups, note) {
  byId('sizes-note').textContent = note;
  byId('sizes').replaceChildren(...groups.map((group, g) => el('li', {},
    el('span', { class: 'name' }, mark(g), group.name),
    el('span', { class: 'figure' }, integer(group.size), el('span', { class: 'note' }, percent(group.share))),
    bar(g, group.share))));
}

function showMap(projection, key, groups) {
  const index = new Map(groups.map((group, g) => [group.id, g]));
  const points = projection.points.map((p) => ({ x: p.x, y: p.y, group: index.get(p[key]) })).filter((p) => p.group !== undefined);
  byId('map-note').textContent = `${integer(points.length)} users, laid out by the two directions in which they differ most. Near means alike.`;
  byId('map').replaceChildren(...(points.length ? scatter(projection, points, groups, say) : []));
}

function showNotLabelled(model, version) {
  byId('profiles-body').replaceChildren(
    el('p', {}, `Version ${version} of ${model} has not labelled its users yet, so there are no profiles to show. Ask for it:`),
    request(`curl -X POST '${location.origin}/v1/models/${model}/label?version=${version}'`));
}

// Per class: how well it is found, and what it is taken for.
function showClasses(title, figures, key, nameOf) {
  const names = figures.classes.map((c) => nameOf(c[key]));
  const head = (...texts) => el('thead', {}, el('tr', {}, ...texts.map((text) => el('th', { scope: 'col' }, text))));
  const row = (name, g, texts) => el('tr', {}, el('th', { scope: 'row' }, mark(g), name), ...texts.map((text) => el('td', {}, text)));
  byId('classes-title').textContent = title;
  byId('classes-body').replaceChildren(
    el('div', { class: 'scroll' }, el('table', {}, el('caption', {}, 'How well each is found'),
      head('', 'Rows', 'Precision', 'Recall', 'F1', 'ROC AUC'),
      el('tbody', {}, ...figures.classes.map((c, g) => row(names[g], g,
        [integer(c.support), number(c.precision), number(c.recall), number(c.f1), number(c.roc_auc)]))))),
    el('div', { class: 'scroll' }, el('table', {}, el('caption', {}, 'What each (row) is taken for (column)'),
      head('', ...names),
      el('tbody', {}, ...figures.confusion_matrix.map((counts, g) => row(names[g], g, counts.map(integer)))))));
  byId('classes').hidden = false;
}

// ---- loading ----

// The answer, or null when the server says that this has not been made yet.
async function getIfLabelled(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error instanceof Problem && error.code === 'not_labelled') return null;
    throw error;
  }
}

// Names may repeat, since people choose them; then the number tells them apart.
function segmentGroups(segments, projection) {
  if (segments) {
    const isShared = (name) => segments.items.filter((s) => s.name === name).length > 1;
    const nameOf = (s) => (isShared(s.name) ? `${s.name} (${s.segment})` : s.name);
    return segments.items.map((s) => ({ id: s.segment, name: nameOf(s), size: s.size, share: s.share }));
  }
  const ids = [...new Set(projection.points.map((p) => p.segment))].sort((a, b) => a - b);
  return ids.map((id) => ({ id, name: `segment ${id}` }));
}

function showSegmentation(version, segments, projection) {
  const groups = segmentGroups(segments, projection);
  showMap(projection, 'segment', groups);
  showSizes(segments ? groups : [], segments ? `${integer(segments.n_users)} users, labelled ${moment(segments.labelled_at)}` : 'not labelled yet');
  byId('profiles').hidden = false;
  if (segments) byId('profiles-body').replaceChildren(...profiles(segments.items.map((s, g) => ({ ...s, name: groups[g].name }))));
  else showNotLabelled(version.model, version.version);
  byId('classes').hidden = true;
  if (version.metrics.head)
    showClasses('The network beside it', version.metrics.head, 'segment', (id) => groups.find((group) => group.id === id)?.name ?? `segment ${id}`);
}

function showClassification(version, projection) {
  const { classes } = version.metrics;
  const n = classes.reduce((sum, c) => sum + c.support, 0);
  const groups = classes.map((c) => ({ id: c.class, name: c.class, size: c.support, share: c.support / n }));
  showMap(projection, 'class', groups);
  showSizes(groups, `true classes of the ${integer(n)} rows of the ${version.metrics.evaluated_on} part`);
  byId('profiles').hidden = true;
  showClasses('Classes', version.metrics, 'class', (name) => name);
}

async function loadModel() {
  const generation = ++state.generation;
  const wanted = chosen();
  state.model = state.models.find((m) => m.name === wanted.get('model')) ?? state.models[0];
  const path = `/v1/models/${state.model.name}`;
  const versions = await getAll(`${path}/versions`, LIST_MAX);
  if (generation !== state.generation) return;
  const known = versions.find((v) => v.version === Number(wanted.get('version')));
  const shown = known ?? versions.find((v) => v.version === state.model.champion) ?? versions[0];
  state.version = shown?.version ?? null;
  showPickers(versions);
  if (!shown) {
    byId('empty').replaceChildren(el('h1', {}, state.model.name), el('p', {}, 'No version has been trained yet; see the jobs below.'));
    show('empty');
    return;
  }
  const isSegmentation = shown.task === 'segmentation';
  const [version, projection, segments] = await Promise.all([
    get(`${path}/versions/${shown.version}`),
    get(`${path}/projection?version=${shown.version}`),
    isSegmentation ? getIfLabelled(`${path}/segments?version=${shown.version}`) : null,
  ]);
  if (generation !== state.generation) return;
  showSummary(version);
  if (isSegmentation) showSegmentation(version, segments, projection);
  else showClassification(version, projection);
  document.title = `${version.model} · segmentd`;
  show('model-view');
}

async function load() {
  state.models = await getAll('/v1/models', LIST_MAX);
  if (state.models.length === 0) showEmpty();
  else await loadModel();
}

async function loadJobs() {
  const jobs = await lastJobs();
  byId('jobs').hidden = jobs.length === 0;
  byId('jobs-body').replaceChildren(jobRows(jobs));
  const running = new Set(jobs.filter(isRunning).map((job) => job.id));
  const ended = [...state.running].some((id) => !running.has(id));
  state.running = running;
  return ended;
}

// ---- failures ----

function askToken(note) {
  byId('jobs').hidden = true;
  byId('pickers').hidden = true;
  if (note) byId('login-note').textContent = note;
  show('login');
  byId('token').focus();
}

// True when it is worth trying again.
function failed(error) {
  if (!(error instanceof Problem)) throw error;
  if (error.status === 401) {
    const note = hasToken() ? 'The server does not know this token, or it has expired.' : null;
    setToken(null);
    askToken(note);
    return false;
  }
  if (error.status === 403) {
    banner('This token may not read. Make one with the scope read.');
    setToken(null);
    askToken(null);
    return false;
  }
  banner(error.status === 0 ? 'The server does not answer. What is shown may be old; trying again.' : `${error.message}; trying again.`);
  return true;
}

// ---- the loop ----

let timer = null;
let turns = 0; // of tick; only the last one begun sets the timer, so that there is one loop

// Loads everything at first and when a job has ended, else the jobs alone.
async function tick(everything) {
  const turn = ++turns;
  clearTimeout(timer);
  let wait = POLL_IDLE_MS, again = everything;
  try {
    if (!document.hidden || everything) {
      const ended = await loadJobs();
      if (everything || ended || state.failures > 0) await load();
    }
    again = false;
    state.failures = 0;
    banner(null);
    if (state.running.size > 0) wait = POLL_BUSY_MS;
  } catch (error) {
    if (!failed(error)) return;
    state.failures += 1;
    wait = Math.min(RETRY_MS_MAX, 1000 * 2 ** (state.failures - 1));
  }
  if (turn === turns) timer = setTimeout(() => tick(again), wait);
}

byId('login').addEventListener('submit', (event) => {
  event.preventDefault();
  setToken(byId('token').value.trim());
  byId('token').value = '';
  tick(true);
});
byId('model').addEventListener('change', (event) => {
  choose(event.target.value, null);
  tick(true);
});
byId('version').addEventListener('change', (event) => {
  choose(state.model.name, event.target.value);
  tick(true);
});
addEventListener('hashchange', () => tick(true));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) tick(false);
});
tick(true);
