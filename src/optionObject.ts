/**
 * Checks the types of options and arguments. This file is separate from `optionNames.ts`, because the code of
 * the worker entry that runs in the page does not check option names.
 */
import { OptionError } from './errors.js';

/**
 * Throws if `options` is not an object. Instances of classes are allowed. Arrays, strings, files and abort
 * signals are not allowed: their content would be ignored silently.
 * @param where name of the called method, for error messages
 * @throws OptionError OPTION_VALUE
 */
export function expectOptions(where: string, options: unknown): void {
  if (options === undefined) return;
  if (!/^(Object|Module)$/.test(kindOf(options))) throw wrongKind(where, 'an object of options', options);
  const { signal } = options as { readonly signal?: Partial<AbortSignal> | null };
  if (signal && !signal.throwIfAborted) throw wrongKind(where, 'signal to be an AbortSignal', signal);
}

/** Makes the error for an argument of the wrong class. */
export const wrongKind = (where: string, expected: string, found: unknown): OptionError =>
  new OptionError('OPTION_VALUE', `${where}: expected ${expected}, found ${kindOf(found)}.`);

/**
 * Returns the name of a value's class. Works without the global class and for objects of other windows,
 * unlike `instanceof`.
 */
export const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

/** True if the value is a Blob or File, also if it comes from a different window. */
export const isBlob = (value: unknown): value is Blob => /^(Blob|File)$/.test(kindOf(value));

/** True if the argument of a method is an array of images. */
export const isBatch = <Image>(images: Image | readonly Image[]): images is readonly Image[] =>
  Array.isArray(images);
