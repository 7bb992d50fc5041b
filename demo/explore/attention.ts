/** Draws the attention of the last block: how much the class token, or a patch, draws from each patch. */
import { PatchMap, type PatchPosition } from '../../src/index.js';
import { lastBlock } from './forward.js';
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
  const { features, loaded } = result;
  const row = await features.attention(lastBlock(loaded.model), { ...choice, signal });
  if (kept?.result !== result) kept = { result, maps: new Map() };
  const patches = row.slice(row.length - features.rows * features.cols);
  kept.maps.set(textOf(choice), new PatchMap(features.rows, features.cols, patches));
}

export function drawAttention({ loaded }: Result, choice: AttentionChoice): Drawn {
  const attention = kept!.maps.get(textOf(choice))!;
  attention.draw(map);
  const { depth, numHeads } = loaded.model.config;
  const { query, head } = choice;
  const who = query === 'cls' ? 'the class token' : `the patch in ${patchName(query)}`;
  const heads = head === 'mean' ? `mean of ${numHeads} heads` : `head ${head + 1} of ${numHeads}`;
  return {
    caption: `Attention of ${who} to each patch: block ${depth} of ${depth}, ${heads}.`,
    mark: query === 'cls' ? undefined : query,
    range: [Math.min(...attention.values), Math.max(...attention.values)],
  };
}
