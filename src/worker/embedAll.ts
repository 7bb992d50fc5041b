/** The page's side of `embedAll`: images go one way and results the other, each when it is asked for. */
import type { ImageSource } from '../image/source.js';
import type { EmbedAllOptions } from '../options.js';
import type { Embedded } from '../tasks/embedAll.js';
import { iteratorOf } from '../tasks/iterate.js';
import { kindOf } from '../optionObject.js';
import { Call, options, type Handed } from './call.js';
import { Handle } from './handles.js';
import { sendImage } from './images.js';
import { KIND } from './protocol.js';
import { receive } from './remote.js';

interface Given {
  readonly embedded: Embedded;
  /** Whether the next one is wanted. */
  readonly answer: (more: boolean) => void;
}

export async function* embedAll(
  model: Handle,
  images: Iterable<ImageSource> | AsyncIterable<ImageSource>,
  settings: EmbedAllOptions,
): AsyncGenerator<Embedded, void, undefined> {
  const call = new Call('embedAll', Handle.placeOf(model)!.connection);
  let iterator: Iterator<ImageSource> | AsyncIterator<ImageSource> | undefined;
  let isOver = false;
  const state: {
    given?: Given | undefined;
    /** How the call has ended. */
    ended?: Promise<unknown>;
    wake?: () => void;
  } = {};
  const close = async (): Promise<void> => {
    if (isOver) return;
    isOver = true;
    // The results were left early, and have no place for an error.
    await (async () => iterator?.return?.())().catch(() => undefined);
  };
  // The first function takes the results; see `giveAll` in thread.ts.
  call.expose(
    (_, result: unknown) =>
      new Promise<Handed>((resolve) => {
        const embedded = receive(result, call).value as Embedded;
        state.given = { embedded, answer: (value) => resolve({ value }) };
        state.wake?.();
      }),
  );
  const next = call.expose(async () => {
    if (isOver) return undefined;
    const { done, value: image } = await iterator!.next();
    isOver ||= done === true;
    if (done) return undefined;
    const transfer: Transferable[] = [];
    return { value: await sendImage(image, call, transfer), transfer };
  });
  /** Last: an iterable is not opened where options are wrong. */
  const source = (): unknown => {
    iterator = iteratorOf(images);
    return iterator
      ? { [KIND]: 'iterable', next, leave: call.expose(close) }
      : { [KIND]: 'image', name: kindOf(images) }; // the worker refuses what has this name
  };
  const running = call.send(model, 'embedAll', [source, options], [images, settings]);
  const end = (): void => {
    state.ended = running;
    state.wake?.();
  };
  running.then(end, end);
  try {
    for (;;) {
      if (!state.given && !state.ended) await new Promise<void>((resolve) => (state.wake = resolve));
      const { given } = state;
      if (!given) return void (await state.ended);
      yield given.embedded;
      state.given = undefined;
      given.answer(true);
    }
  } finally {
    state.given?.answer(false);
    void close(); // at once, and where no worker is there to say so
  }
}
