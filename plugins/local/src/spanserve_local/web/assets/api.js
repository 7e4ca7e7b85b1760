// The read API under `api/`, relative to the page, so that it works below any root path.

import { useEffect, useRef, useState } from "./vendor/preact.js";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const LOGIN_NEEDED = "spanserve-login-needed";

export function urlOf(path, params = {}) {
  const query = new URLSearchParams(
    Object.entries(params).filter(
      ([, value]) => value !== "" && value !== null && value !== undefined,
    ),
  );
  return `api/${path}${query.size ? `?${query}` : ""}`;
}

async function request(url, signal) {
  let response;
  try {
    response = await fetch(url, { signal, headers: { Accept: "application/json, text/plain" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the server does not answer");
  }
  if (response.ok) return response;
  if (response.status === 401) window.dispatchEvent(new Event(LOGIN_NEEDED));
  throw new ApiError(response.status, await messageOf(response));
}

async function messageOf(response) {
  const text = await response.text();
  try {
    const told = JSON.parse(text);
    return told.message ?? told.detail ?? `the server answered ${response.status}`;
  } catch {
    return `the server answered ${response.status}`;
  }
}

export const getJson = async (path, params, signal) =>
  (await request(urlOf(path, params), signal)).json();

export const getText = async (path, params, signal) =>
  (await request(urlOf(path, params), signal)).text();

/** Send the token; the cookie that comes back is none of the page's business. */
export async function login(token) {
  let response;
  try {
    response = await fetch("login", { method: "POST", body: new URLSearchParams({ token }) });
  } catch {
    throw new ApiError(0, "the server does not answer");
  }
  if (response.status === 401) throw new ApiError(401, "this is not the token");
  if (!response.ok) throw new ApiError(response.status, await messageOf(response));
}

/**
 * Load data, again where `key` changes and every so many milliseconds if asked.
 *
 * What was there stays until its successor comes; `error` is of the newest try.
 */
export function useData(load, key, every = 0) {
  const [state, setState] = useState({ data: null, error: null, loading: true });
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const gone = new AbortController();
    let timer = 0;
    const again = async () => {
      if (!document.hidden) {
        try {
          const data = await latest.current(gone.signal);
          if (gone.signal.aborted) return;
          if (data !== undefined) setState({ data, error: null, loading: false, key });
        } catch (error) {
          if (gone.signal.aborted) return;
          setState((before) => ({ ...before, error, loading: false }));
        }
      }
      if (every) timer = setTimeout(again, every);
    };
    setState((before) => ({ ...before, error: null, loading: true }));
    again();
    return () => {
      gone.abort();
      clearTimeout(timer);
    };
  }, [key, every]);
  return state;
}
