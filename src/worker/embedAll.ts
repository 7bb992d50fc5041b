/**
 * The page's side of `embedAll`. The worker requests one image at a time from the page, and the page
 * requests one result at a time from the worker.
 */
import type { ImageSource } from '../image/source.js';
import { kindOf } from '../optionObject.js';
import type { EmbedAllOptions } from '../options.js';
import type { Embedded } from '../tasks/embedAll.js';
import { iteratorOf } from '../tasks/iterate.js';
import { Call } from './call.js';
import { Handle } from './handles.js';
import { sendImage } from './images.js';
import { options, send } from './packs.js';
import { KIND } from './protocol.js';
import { receive } from './remote.js';

interface Arrival {
  readonly embedded: Embedded;
  /** Answers the worker's question whether to compute the next result. */
  readonly answer: (more: boolean) => void;
}

export async function* embedAll(
  model: Handle,
  images: Iterable<ImageSource> | AsyncIterable<ImageSource>,
  settings: EmbedAllOptions,
): AsyncGenerator<Embedded, void, undefined> {
  const call = new Call('embedAll', Handle.objectOf(model)!.connection);
  let iterator: Iterator<ImageSource> | AsyncIterator<ImageSource> | undefined;
  let isOver = false;
  const stop = async (): Promise<void> => {
    if (isOver) return;
    isOver = true;
    await (async () => iterator?.return?.())().catch(() => undefined); // no caller waits for this error
  };
  const next = async (): Promise<{ value: unknown; transfer: Transferable[] } | undefined> => {
    if (isOver) return undefined;
    const { done, value: image } = await iterator!.next();
    isOver ||= done === true;
    if (done) return undefined;
    const transfer: Transferable[] = [];
    return { value: await sendImage(image, call, transfer), transfer };
  };
  let arrive!: (arrival: Arrival) => void;
  const arrives = (): Promise<Arrival> => new Promise((resolve) => (arrive = resolve));
  let arriving = arrives();
  // The worker delivers results to the first function; see `deliver` in thread.ts.
  call.expose(
    (_, result: unknown) =>
      new Promise((resolve) =>
        arrive({
          embedded: receive(result, call).value as Embedded,
          answer: (value) => resolve({ value }),
        }),
      ),
  );
  /**
   * Opens the iterable of images. Called after the options are checked, so that the iterable is not opened if
   * the options are wrong.
   */
  const source = (): unknown => {
    iterator = iteratorOf(images);
    return iterator
      ? { [KIND]: 'iterable', next: call.expose(next), stop: call.expose(stop) }
      : { [KIND]: 'image', name: kindOf(images) }; // the worker rejects it, and names the class
  };
  const running = send(call, model, 'embedAll', [source, options], [images, settings]);
  running.catch(() => undefined); // `Promise.race` below reports the error
  let arrival: Arrival | undefined;
  try {
    while ((arrival = (await Promise.race([arriving, running])) as Arrival | undefined)) {
      yield arrival.embedded;
      arriving = arrives();
      arrival.answer(true);
    }
  } finally {
    arrival?.answer(false);
    void stop(); // the page stops the iterable itself, because the worker may have ended
  }
}
