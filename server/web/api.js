// api.js - the service as the page sees it: JSON by GET, errors as RFC 9457 problems.
// The token of this tab is kept in sessionStorage: never in an address, never past the tab.

const TOKEN = 'segmentd.token';
const TIMEOUT_MS = 20000;

export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status; // 0: no answer
    this.code = code;
  }
}

export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN) !== null;
}

export async function get(path) {
  const headers = { Accept: 'application/json' };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  let reply, body;
  try {
    reply = await fetch(path, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    body = await reply.json();
  } catch (error) {
    // A proxy in between may answer for a server that is gone, and not in JSON.
    throw new Problem(reply && !reply.ok ? reply.status : 0, 'no_answer', reply ? `The answer ${reply.status} is not JSON` : String(error));
  }
  if (!reply.ok) throw new Problem(reply.status, body.code, body.detail || body.title);
  return body;
}

// Every item of a list, page by page; at most `max`, since a page can show no more.
export async function getAll(path, max) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(`${path}?limit=200${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < max);
  return items;
}
