/** Errors that leave the worker. */
import { DINOv2Error, SourceError } from '../index.js';
import type { PageErrorData, SentError } from './protocol.js';

const BUILT_IN = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError } as const;
const MAX_CAUSES = 8;

/** Stands in the worker for an error of the page, which keeps the error itself. */
export class PageError extends Error {
  readonly index: number;
  constructor({ index, name, message }: PageErrorData) {
    super(message);
    this.name = name;
    this.index = index;
  }
}

/** The reason of a signal in the worker that follows the caller's signal. */
export class PageAbort extends Error {
  override readonly name = 'AbortError';
}

export function sendError(error: unknown, maxCauses: number = MAX_CAUSES): SentError {
  if (error instanceof PageAbort) return { from: 'abort' };
  if (error instanceof PageError) return { from: 'page', index: error.index };
  const isException = typeof DOMException === 'function' && error instanceof DOMException;
  if (!(error instanceof Error) && !isException) return { from: 'value', value: plain(error) };
  const { name, message, stack, cause } = error;
  const builtIn = Object.entries(BUILT_IN).findLast(([, ErrorClass]) => error instanceof ErrorClass)?.[0];
  return {
    from: 'worker',
    kind: isException ? 'DOMException' : error instanceof DINOv2Error ? name : (builtIn ?? 'Error'),
    name,
    code: error instanceof DINOv2Error ? error.code : undefined,
    status: error instanceof SourceError ? error.status : undefined,
    message,
    stack,
    cause: cause === undefined || maxCauses === 0 ? undefined : sendError(cause, maxCauses - 1),
  };
}

/** What somebody threw that is no error. */
function plain(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    try {
      return String(value);
    } catch {
      return Object.prototype.toString.call(value);
    }
  }
}
