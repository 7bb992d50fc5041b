import { OptionError } from '../errors.js';
import { checkOptions } from '../optionNames.js';

/** How often and how patiently a request is tried again. */
export interface RetryOptions {
  /** Tries of one request in all, from 1. Progress starts the count anew. Default: 5. */
  readonly attempts?: number | undefined;
  /**
   * Before the second try, in ms; it doubles each time, up to 30 s, give or take a quarter. What a server
   * asks for (Retry-After) goes before. Default: 500.
   */
  readonly delayMs?: number | undefined;
  /** A connection that brings nothing for so long counts as broken, in ms. Default: 30,000. */
  readonly stallMs?: number | undefined;
}

export type RetryPolicy = { readonly [Key in keyof RetryOptions]-?: number };

/** @throws OptionError OPTION_VALUE where a number is out of range, OPTION_NAME */
export function retryPolicy(options: RetryOptions = {}): RetryPolicy {
  const { attempts = 5, delayMs = 500, stallMs = 30_000 } = checkOptions('retry', options);
  if (!Number.isInteger(attempts) || attempts < 1)
    throw new OptionError(
      'OPTION_VALUE',
      `retry.attempts: expected a whole number from 1, found ${String(attempts)}.`,
    );
  if (!(delayMs >= 0) || !(stallMs > 0))
    throw new OptionError(
      'OPTION_VALUE',
      `retry: expected delayMs from 0 and stallMs above 0, found ${String(delayMs)} and ${String(stallMs)}.`,
    );
  return { attempts, delayMs, stallMs };
}

/** No wait is longer, and a server that asks for a longer one is told to the caller at once. */
export const MAX_WAIT_MS = 60_000;

const LONGEST_BACKOFF_MS = 30_000;

/** ms to wait after the `failures`-th failure in a row, from 1. */
export function backOffMs(
  { delayMs }: RetryPolicy,
  failures: number,
  retryAfterMs: number | undefined,
): number {
  const doubled = Math.min(delayMs * 2 ** (failures - 1), LONGEST_BACKOFF_MS);
  return retryAfterMs ?? doubled * (0.75 + Math.random() / 2); // visitors who were cut off together do not come back together
}

/**
 * Retry-After in ms: seconds, or a date, which is counted from the server's own clock where it says what that
 * shows.
 */
export function retryAfterMs(headers: Headers): number | undefined {
  const text = headers.get('retry-after')?.trim();
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const wait = Date.parse(text) - Date.parse(headers.get('date') ?? '');
  return Number.isNaN(wait) ? undefined : Math.max(0, wait);
}
