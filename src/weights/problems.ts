/** Collects the problems of a checkpoint's tensors into one error. */
import { CheckpointError } from '../errors.js';

export const WRONG_DTYPE = 'of a dtype other than F32, F16, BF16, F64';

type Kind = 'missing' | 'surplus' | 'misshapen' | 'duplicate' | typeof WRONG_DTYPE;
const kinds: readonly Kind[] = ['missing', 'surplus', 'misshapen', 'duplicate', WRONG_DTYPE];

const MAX_LISTED = 12;

/** The problems of a file's tensors, by kind, in the order of the file. */
export class Problems {
  readonly #lists = new Map<Kind, string[]>();

  get any(): boolean {
    return this.#lists.size > 0;
  }

  add(kind: Kind, text: string): void {
    const list = this.#lists.get(kind);
    if (list === undefined) this.#lists.set(kind, [text]);
    else list.push(text);
  }

  /**
   * Makes one error that lists all problems, by kind. Long lists are cut, and end with the number of further
   * problems.
   * @param sizes a sentence that names both sizes, if the file is a model of a different size than the
   *   configuration
   */
  error(sizes: string | undefined): CheckpointError {
    const counts: string[] = [];
    const lines: string[] = [];
    const listed = sizes === undefined ? MAX_LISTED : 3; // in a model of a different size, hundreds of tensors have the same problem
    for (const kind of kinds) {
      const list = this.#lists.get(kind) ?? [];
      if (list.length === 0) continue;
      counts.push(`${list.length} ${kind}`);
      const shown = list.length <= listed + 1 ? list : list.slice(0, listed);
      const more = list.length - shown.length;
      lines.push(
        `  ${kind}:`,
        ...shown.map((text) => `    ${text}`),
        ...(more > 0 ? [`    … and ${more} more`] : []),
      );
    }
    const dtypeOnly = this.#lists.size === 1 && this.#lists.has(WRONG_DTYPE);
    return new CheckpointError(
      dtypeOnly ? 'CHECKPOINT_DTYPE' : 'CHECKPOINT_TENSORS',
      `checkpoint: ${sizes === undefined ? '' : `${sizes}. `}The tensors do not match the configuration: ${counts.join(', ')}. ` +
        `${this.#advice(sizes)}\n${lines.join('\n')}`,
    );
  }

  #advice(sizes: string | undefined): string {
    if (sizes !== undefined)
      return 'Give the config.json that belongs to this file, or the file that belongs to the configuration.';
    const missing = this.#lists.get('missing') ?? [];
    const surplus = this.#lists.get('surplus') ?? [];
    if (surplus.some((text) => text.endsWith(')')))
      return 'The surplus tensors change what the model computes, and this library cannot compute it.';
    const no = (pattern: RegExp): boolean =>
      this.#lists.size === 1 &&
      missing.length > 0 &&
      missing.every((text) => pattern.test(text.split(' ')[0]!));
    if (no(/\.(ls[12]\.gamma|layer_scale[12]\.lambda1)$/))
      return 'This vision transformer has no LayerScale, so it is no DINOv2 and cannot be loaded.';
    if (no(/\.(attn\.qkv|attention\.(attention\.)?\w+)\.bias$/))
      return 'This vision transformer has no biases of query, key and value (qkv_bias), so it is no DINOv2 and cannot be loaded.';
    return 'Download the file again from its origin, or save it again from the model that the configuration describes.';
  }
}
