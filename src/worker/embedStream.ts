/** The page's side of `embedAll`: images go one way and results the other, each when it is asked for. */
import type { ImageError } from '../errors.js';
import type { ImageSource } from '../image/source.js';
import type { Embedded } from '../tasks/embedAll.js';
import { iteratorOf } from '../tasks/iterate.js';
import { sendImage } from './images.js';
import type { PageServices, SentEmbedded } from './protocol.js';
import { receiveError } from './sentErrors.js';

interface Given {
  readonly embedded: SentEmbedded;
  /** Whether the next one is wanted. */
  readonly answer: (more: boolean) => void;
}

export class EmbedStream {
  readonly services: PageServices;
  readonly #signal: AbortSignal | undefined;
  readonly #leave: () => Promise<void>;
  #given: Given | undefined;
  #wake: (() => void) | undefined;

  constructor(images: Iterable<ImageSource> | AsyncIterable<ImageSource>, signal: AbortSignal | undefined) {
    this.#signal = signal;
    let iterator: Iterator<ImageSource> | AsyncIterator<ImageSource> | undefined;
    const opened = (): Iterator<ImageSource> | AsyncIterator<ImageSource> =>
      (iterator ??= iteratorOf(images));
    let over = false;
    this.#leave = async () => {
      if (over) return;
      over = true;
      await iterator?.return?.();
    };
    this.services = {
      next: async () => {
        if (over) return { value: undefined, transfer: [] };
        const { done, value } = await opened().next();
        over ||= done === true;
        return done ? { value: undefined, transfer: [] } : sendImage(value);
      },
      leave: async () => {
        await this.#leave().catch(() => undefined); // the results were left early, and have no place for an error
        return { value: undefined, transfer: [] };
      },
      give: (embedded) =>
        new Promise((resolve) => {
          this.#given = { embedded, answer: (more) => resolve({ value: more, transfer: [] }) };
          this.#wake?.();
        }),
    };
  }

  /** @param running the call, which ends with the last result or an error */
  async *results(running: Promise<void>): AsyncGenerator<Embedded, void, undefined> {
    let failure: { readonly error: unknown } | undefined;
    let ended = false;
    running
      .catch((error: unknown) => {
        failure = { error };
      })
      .finally(() => {
        ended = true;
        this.#wake?.();
      });
    try {
      for (;;) {
        if (!this.#given && !ended) await new Promise<void>((resolve) => (this.#wake = resolve));
        const { embedded, answer } = this.#given ?? {};
        if (!embedded) {
          if (failure) throw failure.error;
          return;
        }
        const { index } = embedded;
        yield 'embedding' in embedded
          ? embedded
          : { index, error: receiveError(embedded.error, this.#signal?.reason, []) as ImageError };
        this.#given = undefined;
        answer?.(true);
      }
    } finally {
      this.#given?.answer(false);
      void this.#leave().catch(() => undefined); // at once, and where no worker is there to say so
    }
  }
}
