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
  const kind = kindOf(options);
  if (kind !== 'Object' && kind !== 'Module')
    throw new OptionError(
      'OPTION_VALUE',
      `${where}: expected an object of options, found ${kind}. Write them as { name: value }.`,
    );
  const { signal } = options as { readonly signal?: Partial<AbortSignal> | null };
  if (signal != null && typeof signal.throwIfAborted !== 'function')
    throw new OptionError(
      'OPTION_VALUE',
      `${where}: expected signal to be an AbortSignal, found ${kindOf(signal)}. Pass the signal of an AbortController.`,
    );
}

const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);
