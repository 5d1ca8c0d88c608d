// jobs.js - the last jobs, and how far those that run have come.

import { get } from './api.js';
import { duration, el, integer, moment } from './dom.js';

const JOBS_SHOWN = 8;
const ENDED = new Set(['succeeded', 'failed', 'cancelled']);

export const isRunning = (job) => !ENDED.has(job.state);

// Newest first; those that still run come before.
export async function lastJobs() {
  const jobs = (await get('/v1/jobs?limit=50')).items;
  return [...jobs.filter(isRunning), ...jobs.filter((job) => !isRunning(job))].slice(0, JOBS_SHOWN);
}

function progress(job) {
  const share = Math.round(100 * job.progress);
  if (!isRunning(job)) return job.error ? job.error.detail || job.error.title : (job.warnings ?? []).map((w) => w.detail ?? w).join('; ');
  return el('span', { class: 'progress' },
    el('progress', { max: 100, value: share, 'aria-label': `${job.kind} of ${job.model}` }),
    el('span', {}, `${share} %`), el('span', { class: 'quiet' }, job.message || job.phase || ''));
}

function took(job) {
  const end = job.finished_at ? new Date(job.finished_at) : new Date();
  return job.started_at ? duration(end - new Date(job.started_at)) : '';
}

export function jobRows(jobs) {
  const rows = jobs.map((job) => el('tr', {},
    el('td', {}, el('span', { class: `state ${job.state}` }, job.state)),
    el('th', { scope: 'row' }, `${job.kind} ${job.model}`, job.version ? el('span', { class: 'note' }, `version ${integer(job.version)}`) : null),
    el('td', { class: 'grows' }, progress(job)),
    el('td', {}, moment(job.created_at)),
    el('td', { class: 'figure' }, took(job))));
  return el('div', { class: 'scroll' }, el('table', { class: 'jobs' },
    el('caption', { class: 'hidden' }, 'The last jobs'),
    el('thead', {}, el('tr', {}, ...['State', 'Job', 'Progress', 'Asked for', 'Took'].map((text) => el('th', { scope: 'col' }, text)))),
    el('tbody', {}, ...rows)));
}
