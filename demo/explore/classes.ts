/** The classes of the picture, below it, if the model's checkpoint has a classifier. */
import type { Classification } from '../../src/index.js';
import { byId, setText } from '../shared/dom.js';
import { shortName } from '../shared/format.js';
import { Latest } from '../shared/latest.js';
import { dismiss, showError } from '../shared/toasts.js';
import type { Origin } from './result.js';

/** Number of classes that the page shows. */
export const MOST_CLASSES = 5;

type Classified = Pick<Origin, 'loaded' | 'picture' | 'input'>;

const section = byId('classes', HTMLElement);
const list = byId('classes-list', HTMLElement);
const runs = new Latest();
/** Whose classes are shown, or are being computed. */
let shown: Classified | undefined;

/** Hides the classes, or, if the model has a classifier, leaves their place empty until they are computed. */
export function clearClasses(loaded: Classified['loaded'] | undefined): void {
  runs.abort();
  shown = undefined;
  section.hidden = !loaded?.model.classifier;
  list.replaceChildren();
  setText('classes-status', '');
}

/**
 * Classifies a picture and shows the classes with the highest scores. Does nothing if the model has no
 * classifier, or if these classes are shown already.
 * @param lost reports a lost GPU; returns false for any other error
 */
export async function showClasses(of: Classified, lost: (error: unknown) => boolean): Promise<void> {
  const { loaded, picture, input } = of;
  const { classifier } = loaded.model;
  if (!classifier) return;
  if (shown?.loaded === loaded && shown.picture === picture && shown.input === input) return;
  clearClasses(loaded);
  shown = of;
  try {
    await runs.start(async (signal) => {
      const size = input === 'crop' ? {} : ({ resize: 'fit', longestSide: input } as const);
      const classes = await classifier.classify(picture.bitmap, { ...size, topK: MOST_CLASSES, signal });
      signal.throwIfAborted();
      const isShare = classifier.scoreFunction !== 'none';
      list.replaceChildren(...classes.map((each) => rowOf(each, isShare)));
      const [best] = classes;
      if (best)
        setText('classes-status', `${shortName(picture.name)}: ${best.label}, ${scoreOf(best, isShare)}`);
      dismiss('classes');
    });
  } catch (error) {
    shown = undefined;
    if (!lost(error)) showError('classes', 'The picture could not be classified.', error);
  }
}

/** A score in percent; the value itself if the classifier predicts a value. */
const scoreOf = ({ score }: Classification, isShare: boolean): string =>
  isShare ? `${(100 * score).toFixed(1)} %` : score.toFixed(3).replace('-', '\u2212');

function rowOf(each: Classification, isShare: boolean): HTMLElement {
  const row = document.createElement('li');
  const name = Object.assign(document.createElement('span'), { textContent: each.label, dir: 'auto' });
  name.title = each.label;
  const score = document.createElement('span');
  score.className = 'numbers';
  score.textContent = scoreOf(each, isShare);
  row.append(name, ' ', score);
  if (isShare) {
    const bar = document.createElement('i');
    bar.style.width = `${100 * each.score}%`;
    row.append(bar);
  }
  return row;
}
