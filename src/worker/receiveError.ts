/** Errors that arrive in the page: of the class that they had in the worker, with code, message and cause. */
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
import type { Call } from './call.js';
import type { SentError } from './protocol.js';

/** By a name that no minifier changes. */
const OURS: Readonly<Record<string, unknown>> = {
  DINOv2Error,
  SafetensorsError,
  SourceError,
  CheckpointError,
  ConfigError,
  ImageError,
  OptionError,
  DeviceError,
};

type OurError = new (
  code: string,
  message: string,
  options: ErrorOptions & { readonly status?: number | undefined },
) => DINOv2Error;

/** The error itself, where it was the page's own. */
export function receiveError(sent: SentError, call: Call): unknown {
  if (sent.from === 'abort') return call.signal?.reason;
  if (sent.from === 'page') return call.errors[sent.index];
  if (sent.from === 'value') return sent.value;
  const { kind, name, code = '', status, message, stack } = sent;
  if (kind === 'DOMException') return new DOMException(message, name);
  const options = sent.cause ? { cause: receiveError(sent.cause, call) } : {};
  const Ours = OURS[kind] as OurError | undefined;
  const BuiltIn = Reflect.get(globalThis, kind) as ErrorConstructor;
  const error = Ours ? new Ours(code, message, { ...options, status }) : new BuiltIn(message, options);
  if (stack !== undefined) error.stack = stack;
  if (error.name !== name) (error as Error).name = name;
  return error;
}
