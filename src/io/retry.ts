/** The retry policy of downloads: number of attempts, delays and time limits. */
import { OptionError } from '../errors.js';
import { checkOptions } from '../optionNames.js';
import { show } from '../platform/json.js';

/** When and how often a failed request is repeated. */
export interface RetryOptions {
  /** Number of attempts for one request, at least 1. Received data resets the count. Default: 5. */
  readonly attempts?: number | undefined;
  /**
   * Delay before the second attempt, in ms. The delay doubles with each attempt, up to 30 s, with 25 %
   * jitter. A server's Retry-After takes precedence. Default: 500.
   */
  readonly delayMs?: number | undefined;
  /** Time without data after which a connection counts as broken, in ms. Default: 30,000. */
  readonly stallMs?: number | undefined;
}

export type RetryPolicy = { readonly [Key in keyof RetryOptions]-?: number };

/**
 * Checks the options of retries, and fills in the defaults.
 * @throws OptionError OPTION_VALUE if a number is out of range, OPTION_NAME if an option is unknown
 */
export function retryPolicy(options: RetryOptions = {}): RetryPolicy {
  const { attempts = 5, delayMs = 500, stallMs = 30_000 } = checkOptions('retry', options);
  if (!Number.isInteger(attempts) || attempts < 1)
    throw new OptionError(
      'OPTION_VALUE',
      `retry.attempts: expected a whole number from 1, found ${show(attempts)}.`,
    );
  if (!(delayMs >= 0) || !(stallMs > 0))
    throw new OptionError(
      'OPTION_VALUE',
      `retry: expected delayMs of at least 0 and stallMs above 0, found ${show(delayMs)} and ${show(stallMs)}.`,
    );
  return { attempts, delayMs, stallMs };
}

/**
 * The longest wait before a retry, in ms. If the server's Retry-After is longer, the request fails at once.
 */
export const MAX_WAIT_MS = 60_000;

const LONGEST_BACKOFF_MS = 30_000;

/** Returns the wait in ms after `failures` (1 or more) failures in a row. */
export function backOffMs(
  { delayMs }: RetryPolicy,
  failures: number,
  retryAfterMs: number | undefined,
): number {
  const doubled = Math.min(delayMs * 2 ** (failures - 1), LONGEST_BACKOFF_MS);
  return retryAfterMs ?? doubled * (0.75 + Math.random() / 2); // random jitter, so that clients that were cut off together do not return together
}

/**
 * Returns the time of a Retry-After header in ms. If the header is a date, the wait is counted from the
 * answer's own Date header; undefined if Date is missing.
 */
export function retryAfterMs(headers: Headers): number | undefined {
  const text = headers.get('retry-after')?.trim();
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const wait = Date.parse(text) - Date.parse(headers.get('date') ?? '');
  return Number.isNaN(wait) ? undefined : Math.max(0, wait);
}
