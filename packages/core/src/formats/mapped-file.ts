import type { SafetensorsEntry } from './safetensors-header.js';

/**
 * Gives bytes of an open file without reading them: memory that the system fills from the file where it is touched, and shares between
 * processes. Writes to it do not reach the file. The file may be closed, renamed or deleted meanwhile, but not changed in place.
 * @param file   descriptor
 * @param path   for messages
 * @throws where the system cannot do it
 */
export type MapFile = (file: number, offset: number, bytes: number, path: string) => ArrayBuffer;

/**
 * Tensors that follow each other are mapped together, up to this size: Node 20 has no buffer above 4 GiB, and every buffer of this kind
 * wakes the collector.
 */
const WINDOW_BYTES = 2 ** 30;

/** Windows begin at a page, so that what is aligned in the file is aligned in its window. */
const PAGE_BYTES = 4096;

interface Window {
  readonly begin: number;
  end: number;
  buffer?: ArrayBuffer | undefined;
}

/** The tensors of an open safetensors file, mapped where they are first asked for. A mapping lives as long as someone holds a view. */
export class MappedFile {
  readonly #windows = new Map<SafetensorsEntry, Window>();

  /**
   * @param tensors   in the order of their bytes
   * @param dataStart offset in the file that the entries count from
   */
  constructor(
    tensors: Iterable<SafetensorsEntry>,
    private readonly dataStart: number,
    private readonly map: (offset: number, bytes: number) => ArrayBuffer,
  ) {
    let window: Window | undefined;
    for (const entry of tensors) {
      const [begin, end] = [dataStart + entry.begin, dataStart + entry.end];
      if (!window || end - window.begin > WINDOW_BYTES) window = { begin: begin - (begin % PAGE_BYTES), end };
      window.end = end;
      this.#windows.set(entry, window);
    }
  }

  /** The tensor's bytes, or undefined where they have to be read: some file systems cannot be mapped. */
  view(entry: SafetensorsEntry): Uint8Array<ArrayBuffer> | undefined {
    const window = this.#windows.get(entry)!;
    if (entry.bytes === 0) return undefined;
    try {
      window.buffer ??= this.map(window.begin, window.end - window.begin);
    } catch {
      return undefined;
    }
    return new Uint8Array(window.buffer, this.dataStart + entry.begin - window.begin, entry.bytes);
  }
}
