/** Checks that options are an object. Separate from optionNames.ts, because the worker's page side needs no names. */
import { OptionError } from './errors.js';

/**
 * Throws for options that are not an object. Instances of classes are allowed. Arrays, strings, files and signals are
 * not: their content would be ignored silently.
 * @param where the call, for messages
 * @throws OptionError OPTION_VALUE
 */
export function expectOptions(where: string, options: unknown): void {
  if (options === undefined) return;
  if (!/^(Object|Module)$/.test(kindOf(options))) throw wrongKind(where, 'an object of options', options);
  const { signal } = options as { readonly signal?: Partial<AbortSignal> | null };
  if (signal && !signal.throwIfAborted) throw wrongKind(where, 'signal to be an AbortSignal', signal);
}

/** The error for an argument of the wrong class. */
export const wrongKind = (where: string, expected: string, found: unknown): OptionError =>
  new OptionError('OPTION_VALUE', `${where}: expected ${expected}, found ${kindOf(found)}.`);

/** The name of a value's class. Unlike instanceof, it works without the global class and for objects of other windows. */
export const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** Whether the value is a Blob or File, of this window or another. */
export const isBlob = (value: unknown): value is Blob => /^(Blob|File)$/.test(kindOf(value));

/** Whether a call was given several images. */
export const isBatch = <Image>(images: Image | readonly Image[]): images is readonly Image[] =>
  Array.isArray(images);
