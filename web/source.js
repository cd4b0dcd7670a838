// Where bytes come from: parts of files of the server, and files as they arrive.

const STEP_MS = 50; // between the parts of a file that arrives slowly

/** Returns a function of begin and end that gives a promise of these bytes of a file, fewer where it ends. */
export function ranges(url) {
  return async (start, end) => {
    const response = await fetch(url, { headers: { Range: `bytes=${start}-${end - 1}` } });
    checked(response, url);
    const bytes = new Uint8Array(await response.arrayBuffer());
    return response.status === 206 ? bytes : bytes.subarray(start, end); // a server may not know ranges
  };
}

/** Yields a file as it arrives; slowed down to a number of bytes a second, if that is not 0. */
export async function* arriving(url, rate, signal) {
  const response = await fetch(url, { signal });
  checked(response, url);
  const begin = performance.now();
  let total = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    for (let at = 0; at < value.length; ) {
      if (rate) await pause(STEP_MS);
      if (signal?.aborted) return;
      const due = rate ? Math.ceil((rate * (performance.now() - begin)) / 1000) - total : Infinity; // also what is late
      const bytes = value.subarray(at, Math.min(at + Math.max(due, 1), value.length));
      [at, total] = [at + bytes.length, total + bytes.length];
      yield bytes;
    }
  }
}

/** Returns a promise that is kept after so many milliseconds, at the earliest after all messages that wait. */
export function pause(milliseconds = 0) {
  return new Promise((resolve) => setTimeout(resolve, Math.max(milliseconds, 0)));
}

function checked(response, url) {
  if (!response.ok) throw new Error(`the server has no ${url}: ${response.status} ${response.statusText}`);
}
