/** Draws the attention of a block: how much the class token, or a patch, takes from each patch. */
import { PatchMap, type PatchPosition } from '../../src/index.js';
import { map, type Drawn } from './frame.js';
import { patchName, type Result } from './result.js';

export interface AttentionChoice {
  readonly query: 'cls' | PatchPosition;
  readonly head: number | 'mean';
}

const textOf = ({ query, head }: AttentionChoice): string => JSON.stringify([query, head]);

/** The maps of one result by their choice. */
let kept: { result: Result; maps: Map<string, PatchMap> } | undefined;

export const hasAttention = (result: Result, choice: AttentionChoice): boolean =>
  kept?.result === result && kept.maps.has(textOf(choice));

export async function prepareAttention(
  result: Result,
  choice: AttentionChoice,
  signal: AbortSignal,
): Promise<void> {
  if (hasAttention(result, choice)) return;
  const { features, block } = result;
  const { rows, cols, values } = await features.attentionMap(block, { ...choice, signal });
  if (kept?.result !== result) kept = { result, maps: new Map() };
  // In multiples of the average over all tokens, because the weights themselves are tiny.
  const multiples = values.map((weight) => weight * features.numTokens);
  kept.maps.set(textOf(choice), new PatchMap(rows, cols, multiples));
}

export function drawAttention({ loaded, block }: Result, choice: AttentionChoice): Drawn {
  const attention = kept!.maps.get(textOf(choice))!;
  attention.draw(map);
  const { depth, numHeads } = loaded.model.config;
  const { query, head } = choice;
  const who = query === 'cls' ? 'the class token' : `the patch in ${patchName(query)}`;
  const heads = head === 'mean' ? `mean of ${numHeads} heads` : `head ${head + 1} of ${numHeads}`;
  return {
    caption: `Attention of ${who}: block ${(block < 0 ? depth + block : block) + 1} of ${depth}, ${heads}.`,
    mark: query === 'cls' ? undefined : query,
    unit: '×',
    range: [Math.min(...attention.values), Math.max(...attention.values)],
  };
}
