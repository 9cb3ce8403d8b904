import { LftError } from '../errors/lft-error.js';
import { DTYPES, type Dtype, isDtype, tensorBytes } from './dtype.js';

/** Where one tensor lies in a safetensors file. */
export interface SafetensorsEntry {
  readonly dtype: Dtype;
  readonly shape: number[];
  /** First byte, counted from the end of the header. */
  readonly begin: number;
  /** One past the last byte, counted from the end of the header. */
  readonly end: number;
  /** end − begin */
  readonly bytes: number;
}

export interface SafetensorsHeader {
  readonly metadata: Record<string, string>;
  /** In the order of their bytes in the file. */
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
}

/** An error in the file itself: nothing but another copy of it helps. */
export function invalidFile(path: string, problem: string, facts: Record<string, unknown> = {}): LftError {
  return new LftError('safetensors-invalid', `${path}: ${problem}. Download or copy the file again.`, {
    path,
    ...facts,
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseJson(path: string, text: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
  } catch (error) {
    const reason = error instanceof SyntaxError ? error.message : 'it is not UTF-8';
    throw invalidFile(path, `its header of ${text.length} bytes is not JSON (${reason})`, { headerBytes: text.length });
  }
  if (!isObject(header)) throw invalidFile(path, 'its header is not a JSON object', { header });
  return header;
}

function parseMetadata(path: string, value: unknown): Record<string, string> {
  if (value === undefined) return {};
  if (!isObject(value)) throw invalidFile(path, '__metadata__ in its header is not an object', { metadata: value });
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw invalidFile(path, `__metadata__ "${key}" is ${JSON.stringify(text)}, not a string`, { key, value: text });
    }
  }
  return value as Record<string, string>;
}

function parseEntry(path: string, tensor: string, value: unknown): SafetensorsEntry {
  const invalid = (problem: string) => invalidFile(path, `tensor "${tensor}" ${problem}`, { tensor, entry: value });
  if (!isObject(value)) throw invalid(`is described by ${JSON.stringify(value)}, not by an object`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) throw invalid(`has the unknown dtype ${JSON.stringify(dtype)} (known: ${DTYPES.join(', ')})`);
  if (!Array.isArray(shape) || shape.some((size) => !Number.isSafeInteger(size) || size < 0)) {
    throw invalid(`has the shape ${JSON.stringify(shape)}, not a list of whole numbers from 0`);
  }
  const bytes = tensorBytes(dtype, shape);
  if (bytes === undefined) throw invalid(`has the shape [${shape}] of ${dtype}, which no file can hold in whole bytes`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || offsets.some((at) => !Number.isSafeInteger(at) || at < 0)) {
    throw invalid(`has the data_offsets ${JSON.stringify(offsets)}, not two whole numbers from 0`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw invalid(`has data_offsets that run backwards, from ${begin} to ${end}`);
  if (end - begin !== bytes) {
    throw invalid(
      `has ${end - begin} bytes (data_offsets ${begin} to ${end}), but [${shape}] of ${dtype} takes ${bytes}`,
    );
  }
  return { dtype, shape: shape as number[], begin, end, bytes };
}

/**
 * Reads a safetensors header and checks that its tensors fill the rest of the file: each byte belongs to exactly one tensor.
 * @param path for messages
 * @param text the JSON, without the 8 bytes of its length
 * @param dataBytes size of the file behind the header
 * @throws LftError safetensors-invalid
 */
export function parseSafetensorsHeader(path: string, text: Uint8Array, dataBytes: number): SafetensorsHeader {
  const { __metadata__, ...entries } = parseJson(path, text);
  const metadata = parseMetadata(path, __metadata__);
  const sorted = Object.entries(entries)
    .map(([name, value]) => [name, parseEntry(path, name, value)] as const)
    .sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);

  let end = 0;
  let last: string | undefined;
  for (const [tensor, entry] of sorted) {
    const facts = { tensor, before: last, begin: entry.begin, expected: end };
    const before = last === undefined ? 'the first byte of data' : `the end of "${last}"`;
    if (entry.begin < end) {
      throw invalidFile(
        path,
        `tensor "${tensor}" begins at byte ${entry.begin}, inside "${last}", which ends at ${end}`,
        facts,
      );
    }
    if (entry.begin > end) {
      const gap = `${entry.begin - end} bytes belong to no tensor`;
      throw invalidFile(
        path,
        `tensor "${tensor}" begins at byte ${entry.begin}, but ${before} is at ${end}: ${gap}`,
        facts,
      );
    }
    end = entry.end;
    last = tensor;
  }
  const facts = { tensor: last, dataBytes, expected: end };
  if (end > dataBytes) {
    const cut = sorted.filter(([, entry]) => entry.end > dataBytes);
    const first = cut[0]![0];
    const which = cut.length === 1 ? `tensor "${first}" is` : `${cut.length} tensors from "${first}" on are`;
    throw invalidFile(
      path,
      `it is cut off: its header tells of ${end} bytes of data and there are ${dataBytes}, so that ${which} not all there`,
      { ...facts, tensor: first },
    );
  }
  if (end < dataBytes) {
    const rest = `${dataBytes - end} bytes behind them belong to no tensor`;
    throw invalidFile(path, `its header tells of ${end} bytes of data and there are ${dataBytes}: ${rest}`, facts);
  }
  return { metadata, tensors: new Map(sorted) };
}
