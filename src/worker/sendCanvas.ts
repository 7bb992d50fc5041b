/** Hands canvases of the page over to the worker, which then draws on them without the page. */
import { ImageError, OptionError } from '../errors.js';
import { kindOf } from '../optionObject.js';
import type { Call, WorkerConnection } from './call.js';
import { KIND } from './protocol.js';

/** The canvases that were handed over, and the worker that has each. */
const handedOver = new WeakMap<object, { readonly connection: WorkerConnection; readonly id: number }>();
let lastId = 0;

/**
 * Converts a canvas for sending. The first call hands it over to the worker: an OffscreenCanvas is transferred,
 * an element by `transferControlToOffscreen`. From then on only this worker can draw on the canvas or change its
 * size.
 * @throws OptionError OPTION_VALUE, if the value is not a canvas or another worker has the canvas; ImageError
 *   IMAGE_TYPE, if the canvas has a context or was handed over by other code
 */
export function sendCanvas(canvas: HTMLCanvasElement | OffscreenCanvas, call: Call): unknown {
  if (!/^(HTML|Offscreen)Canvas(Element)?$/.test(kindOf(canvas)))
    throw new OptionError(
      'OPTION_VALUE',
      `${call.where}: expected an HTMLCanvasElement or an OffscreenCanvas, found ${kindOf(canvas)}. A worker cannot draw on GPU objects of the page.`,
    );
  const known = handedOver.get(canvas);
  if (known && known.connection === call.connection) return { [KIND]: 'canvas', id: known.id };
  if (known)
    throw new OptionError(
      'OPTION_VALUE',
      `${call.where}: expected a canvas that no other worker draws on, found one that was passed with a model of another worker. Pass a new canvas.`,
    );
  const id = ++lastId;
  try {
    const moved = 'transferControlToOffscreen' in canvas ? canvas.transferControlToOffscreen() : canvas;
    // A canvas with a context cannot be transferred. This call throws for one, which a message would not.
    const sent = structuredClone(moved, { transfer: [moved] });
    call.transfer.push(sent);
    handedOver.set(canvas, { connection: call.connection, id });
    return { [KIND]: 'canvas', id, canvas: sent };
  } catch (cause) {
    throw new ImageError(
      'IMAGE_TYPE',
      `${call.where}: expected a canvas without a context, found one that cannot be handed over to the worker (${String(cause)}). Pass a new canvas.`,
      { cause },
    );
  }
}
