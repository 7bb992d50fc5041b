/** Messages and progress bars on stderr. */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';

/** Environment variable with the file descriptor of the terminal's stderr, for a process whose own is hidden. */
export const DESCRIPTOR = 'DINOV2_WEBGPU_STDERR';

const descriptor = Number(process.env[DESCRIPTOR] ?? 2);
const hasBars = isatty(descriptor);
/** True while a progress bar is on the last line. */
let barShown = false;

function write(text) {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(descriptor, bytes, done);
    } catch (error) {
      if (error.code === 'EPIPE') return; // nobody reads the messages
      if (error.code !== 'EAGAIN') throw error; // EAGAIN: the reader of a pipe is slow
    }
  }
}

/** Prints a line on stderr. */
export function message(text) {
  write(`${barShown ? '\r\x1b[K' : ''}${text}\n`);
  barShown = false;
}

const REDRAW_MS = 100;

/**
 * Returns a function that shows progress on stderr, if stderr is a terminal. Call it with the amounts that are
 * done and expected, of which the second may be undefined; `unit` is appended to the amounts. The line is
 * finished once, when all is done.
 */
export function progressBar(label, unit = '', { shown = hasBars, print = write, text = String } = {}) {
  let last = -Infinity;
  let isOver = !shown;
  return (done, total) => {
    const now = performance.now();
    if (isOver || (done !== total && now - last < REDRAW_MS)) return;
    last = now;
    isOver = total !== undefined && done >= total;
    const part = total > 0 ? Math.min(done / total, 1) : 0;
    const bar = '█'.repeat(Math.round(part * 30)).padEnd(30, '░');
    const amount = total === undefined ? text(done) : `${text(done)} of ${text(total)}`;
    print(
      `\r\x1b[K${label} ${bar} ${(part * 100).toFixed(0).padStart(3)} %  ${amount}${unit}${isOver ? '\n' : ''}`,
    );
    barShown = !isOver;
  };
}

/** Returns a function that shows the progress of a load or a conversion. */
export function byteBar(label) {
  const bar = progressBar(label, ' MB', { text: (bytes) => (bytes / 1e6).toFixed(1) });
  return ({ loadedBytes, totalBytes }) => bar(loadedBytes, totalBytes);
}
