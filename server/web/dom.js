// dom.js - elements and numbers. Text enters the page here alone, as text nodes: names are what
// users of the service typed and must never be read as markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? '' : value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

const NONE = '–'; // a figure that is not defined

export function integer(x) {
  return Number.isFinite(x) ? x.toLocaleString('en') : NONE;
}

export function percent(share) {
  return Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : NONE;
}

// Four digits that count: 0.00418, 12.3, 7,594.
export function number(x) {
  if (!Number.isFinite(x)) return NONE;
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return x.toExponential(2);
  return x.toLocaleString('en', size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 });
}

// A mean in the terms of its feature: a boolean's is a share, a timestamp's a time (in seconds).
export function figure(x, type) {
  if (!Number.isFinite(x)) return NONE;
  if (type === 'boolean') return percent(x);
  const time = type === 'timestamp' ? new Date(x * 1000) : null;
  return time && !Number.isNaN(time.getTime()) ? time.toISOString().slice(0, 10) : number(x);
}

export function moment(text) {
  return text ? new Date(text).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' }) : NONE;
}

export function duration(ms) {
  if (!Number.isFinite(ms) || ms < 0) return NONE;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 120000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60000)} min`;
}
