/** Options are an object: the part of the check that the page side of the worker needs, without the names. */
import { OptionError } from './errors.js';

/**
 * Refuses options that are no object. Class instances are allowed; arrays, strings, files and signals are not:
 * their content would be ignored without a word.
 * @param where the call, for messages
 * @throws OptionError OPTION_VALUE
 */
export function expectOptions(where: string, options: unknown): void {
  if (options === undefined) return;
  if (!/^(Object|Module)$/.test(kindOf(options))) throw wrongKind(where, 'an object of options', options);
  const { signal } = options as { readonly signal?: Partial<AbortSignal> | null };
  if (signal && !signal.throwIfAborted) throw wrongKind(where, 'signal to be an AbortSignal', signal);
}

/** An argument of another class than expected. */
export const wrongKind = (where: string, expected: string, found: unknown): OptionError =>
  new OptionError('OPTION_VALUE', `${where}: expected ${expected}, found ${kindOf(found)}.`);

/**
 * The name of a value's class. Unlike instanceof it needs no global, and knows the things of other windows.
 */
export const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

export const isBlob = (value: unknown): value is Blob => /^(Blob|File)$/.test(kindOf(value));

/** Whether a call was given several images. */
export const isBatch = <Image>(images: Image | readonly Image[]): images is readonly Image[] =>
  Array.isArray(images);
