/**
 * Models in words. A collection stores the id of the model that made it; these functions make the id from the
 * visitor's choice, and a choice and words from the id.
 */
import type { IndexHeader } from '../../src/search.js';
import { hubId, modelName, type ModelChoice, type Size } from '../shared/modelChoice.js';

const UNTRAINED = 'not trained: ';
/** The id that earlier versions of the page stored for each model without training. */
const ANY_UNTRAINED = 'synthetic, not trained';
const sizes: Readonly<Record<number, Size>> = { 384: 'small', 768: 'base', 1024: 'large', 1536: 'giant' };

/** Returns the id that a collection stores for a model. */
export function modelIdOf(choice: ModelChoice): string {
  if (choice.weights === 'file') return modelName(choice);
  return choice.weights === 'hub' ? hubId(choice) : `${UNTRAINED}${hubId(choice)}`;
}

/**
 * Returns the choice that loads the model of a collection; undefined if the model was in a file of the
 * visitor.
 */
export function choiceFor({ model, dim }: Pick<IndexHeader, 'model' | 'dim'>): ModelChoice | undefined {
  const id = model?.id ?? '';
  const untrained = id.startsWith(UNTRAINED);
  const [, registers, size, classes] =
    /^facebook\/dinov2-(with-registers-)?(small|base|large|giant)(-imagenet1k-1-layer)?$/.exec(
      untrained ? id.slice(UNTRAINED.length) : id,
    ) ?? [];
  if (size)
    return {
      size: size as Size,
      registers: registers !== undefined,
      weights: untrained ? 'synthetic' : 'hub',
      dtype: 'fp32',
      ...(classes !== undefined && { classes: true }),
    };
  const known = sizes[dim];
  return id === ANY_UNTRAINED && known
    ? { size: known, registers: false, weights: 'synthetic', dtype: 'fp32' }
    : undefined;
}

/** Names a model in words: its size, registers, and whether it is trained. */
export const choiceInWords = (choice: ModelChoice): string =>
  choice.weights === 'file'
    ? `the file ${modelName(choice)}`
    : `${modelName(choice)}, ${choice.weights === 'hub' ? 'trained' : 'not trained'}`;

/** Names the model of a collection in words. */
export function madeByInWords(header: Pick<IndexHeader, 'model' | 'dim'>): string {
  const choice = choiceFor(header);
  if (choice) return choiceInWords(choice);
  return header.model ? `the file ${header.model.id}` : 'an unknown model';
}
