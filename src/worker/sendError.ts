/** Converts thrown values so that the worker can send them to the page. */
import { DINOv2Error, SourceError } from '../index.js';
import { KIND, textOf, type PageErrorData, type SentResult } from './protocol.js';

const BUILT_IN = ['EvalError', 'RangeError', 'ReferenceError', 'SyntaxError', 'TypeError', 'URIError'];
const MAX_CAUSES = 8;

/** Represents, in the worker, an error that was thrown in the page. The page keeps the original error. */
export class PageError extends Error {
  readonly index: number;
  constructor({ index, name, message }: PageErrorData) {
    super(message);
    this.name = name;
    this.index = index;
  }
}

/**
 * Converts a thrown value so that the worker can send it to the page. An error becomes a plain object from
 * which the page restores the error. Any other value becomes a copy, or a text if it cannot be copied.
 */
export function sendError(error: unknown, maxCauses: number = MAX_CAUSES): unknown {
  if (error instanceof PageError) return { [KIND]: 'thrown', index: error.index } satisfies SentResult;
  const isException = error instanceof DOMException;
  if (!(error instanceof Error) && !isException) return cloneable(error);
  const { name, message, stack, cause } = error;
  const isOurs = error instanceof DINOv2Error;
  const builtIn = BUILT_IN.find(
    (each) => error instanceof (Reflect.get(globalThis, each) as ErrorConstructor),
  );
  return {
    [KIND]: 'error',
    of: isException ? 'DOMException' : isOurs ? name : (builtIn ?? 'Error'),
    name,
    message,
    stack,
    code: isOurs ? error.code : undefined,
    status: error instanceof SourceError ? error.status : undefined,
    cause: cause === undefined || maxCauses === 0 ? undefined : sendError(cause, maxCauses - 1),
  } satisfies SentResult;
}

function cloneable(value: unknown): unknown {
  try {
    return structuredClone(value);
  } catch {
    return textOf(value);
  }
}
