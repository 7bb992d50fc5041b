// Prints one table from the JSON files of a session (gpu-session.sh): every engine at every model, size and type.
//
//   node bench/session-table.mjs FOLDER
//
// A file of a step that failed may be missing. Times are medians in ms, with readback.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
/** What the JSON files hold whose names begin with `name`. */
const read = (name) =>
  readdirSync(folder)
    .filter((file) => file.startsWith(name) && file.endsWith('.json'))
    .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')));
const [peers, tuning, torch] = ['peers', 'tuning', 'torch'].map((name) => read(name).flat());
const [bench = {}] = read('bench');
const forwards = Object.values(bench)[0]?.forwards ?? [];

const keys = new Map();
for (const { model, px, dtype } of [...peers, ...forwards, ...tuning, ...torch])
  if (dtype !== 'fp16-f16') keys.set(`${model} ${px} ${dtype}`, { model, px, dtype });
const ms = (value) => (value === undefined ? '–' : value.toFixed(value >= 100 ? 0 : 2));
const percent = (value) => (value === undefined || value === null ? '–' : `${(100 * value).toFixed(0)} %`);

console.log(
  '| model | px | dtype | ours | after tune() | ours, f16 arithmetic | ours, tuned flags | ONNX Runtime, plain | ONNX Runtime, fused | speed-up of ours | of the ceiling | PyTorch |\n|---|---|---|---|---|---|---|---|---|---|---|---|',
);
for (const { model, px, dtype } of keys.values()) {
  const same = (row) => row.model === model && row.px === px && row.dtype === dtype;
  const engine = (label) => peers.find((row) => same(row) && row.label === label && !row.error)?.medianMs;
  const ours = engine('ours, stock flags');
  const others = ['plain', 'fused'].map((form) => engine(`ONNX Runtime, ${form}`));
  const fastest = Math.min(...others.filter(Boolean));
  const ratio = ours && Number.isFinite(fastest) ? `**${(fastest / ours).toFixed(2)}**` : '–';
  const f16 =
    dtype === 'fp16' && tuning.find((row) => same({ ...row, dtype: 'fp16' }) && row.dtype === 'fp16-f16');
  const cells = [model, px, dtype, ms(ours), ms(tuning.find(same)?.tunedMs), f16 ? ms(f16.tunedMs) : '–'];
  cells.push(ms(engine('ours, tuned flags')), ...others.map(ms), ratio);
  cells.push(percent(forwards.find(same)?.measured?.share), ms(torch.find(same)?.medianMs));
  console.log(`| ${cells.join(' | ')} |`);
}
