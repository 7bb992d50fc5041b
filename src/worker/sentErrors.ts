/**
 * Errors on their way between page and worker: what arrives is of the same class, with code, message and
 * cause.
 */
import {
  CheckpointError,
  ConfigError,
  DeviceError,
  DINOv2Error,
  ImageError,
  OptionError,
  SafetensorsError,
  SourceError,
} from '../errors.js';
import type { SentError } from './protocol.js';

/** By a name that no minifier changes. */
const OURS = {
  SafetensorsError,
  SourceError,
  CheckpointError,
  ConfigError,
  ImageError,
  OptionError,
  DeviceError,
} as const;
const BUILT_IN = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError } as const;
const MOST_CAUSES = 8;

/** In the worker: an error of the page, which keeps the thing itself. */
export class PageError extends Error {
  readonly index: number;
  constructor(index: number, name: string, message: string) {
    super(message);
    this.name = name;
    this.index = index;
  }
}

/** In the worker: the reason of a signal that the page's signal has set off. */
export class PageAbort extends Error {
  override readonly name = 'AbortError';
}

export function sendError(error: unknown, causes: number = MOST_CAUSES): SentError {
  if (error instanceof PageAbort) return { from: 'abort' };
  if (error instanceof PageError) return { from: 'page', index: error.index };
  const isException = typeof DOMException === 'function' && error instanceof DOMException;
  if (!(error instanceof Error) && !isException) return { from: 'value', value: plain(error) };
  const { name, message, stack, cause } = error;
  const ours = Object.entries(OURS).find(([, ErrorClass]) => error instanceof ErrorClass)?.[0];
  const builtIn = Object.entries(BUILT_IN).findLast(([, ErrorClass]) => error instanceof ErrorClass)?.[0];
  return {
    from: 'worker',
    kind: isException
      ? 'DOMException'
      : (ours ?? (error instanceof DINOv2Error ? 'DINOv2Error' : (builtIn ?? 'Error'))),
    name,
    code: error instanceof DINOv2Error ? error.code : undefined,
    status: error instanceof SourceError ? error.status : undefined,
    message,
    stack,
    cause: cause === undefined || causes === 0 ? undefined : sendError(cause, causes - 1),
  };
}

/**
 * In the page.
 * @param reason of the caller's signal
 * @param known errors of the page, in the order in which the call met them
 */
export function receiveError(sent: SentError, reason: unknown, known: readonly unknown[]): unknown {
  if (sent.from === 'abort') return reason;
  if (sent.from === 'page') return known[sent.index];
  if (sent.from === 'value') return sent.value;
  const { kind, name, code = '', status, message, stack } = sent;
  if (kind === 'DOMException') return new DOMException(message, name);
  const options = sent.cause ? { cause: receiveError(sent.cause, reason, known) } : {};
  const error = make(kind, code, message, status, options);
  if (stack !== undefined) error.stack = stack;
  if (error.name !== name && !(error instanceof DINOv2Error)) error.name = name;
  return error;
}

function make(
  kind: string,
  code: string,
  message: string,
  status: number | undefined,
  options: ErrorOptions,
): Error {
  if (kind === 'SourceError')
    return new SourceError(code as SourceError['code'], message, { ...options, status });
  if (kind in OURS) {
    const ErrorClass = OURS[kind as keyof typeof OURS] as new (
      code: string,
      message: string,
      options: ErrorOptions,
    ) => DINOv2Error;
    return new ErrorClass(code, message, options);
  }
  if (kind === 'DINOv2Error') return new DINOv2Error(code, message, options);
  const ErrorClass = BUILT_IN[kind as keyof typeof BUILT_IN] ?? Error;
  return new ErrorClass(message, options);
}

/** Words for whatever somebody threw: not everything has some of its own. */
export function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** What somebody threw that is no error. */
function plain(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return textOf(value);
  }
}
