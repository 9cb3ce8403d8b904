import type { z } from 'zod';
import type { Adapter } from './adapter.js';
import type { LayerSelector } from './layer-selector.js';

/**
 * What a selector package exports as `selector`, so that `lft train --selector NAME` finds it by package name and can check and
 * explain its options.
 */
export interface SelectorPlugin<Options extends z.ZodType = z.ZodType> {
  readonly name: string;
  /** One line for help texts. */
  readonly summary: string;
  /** A zod object schema; every field has a default or is optional, and a description. */
  readonly options: Options;
  create(options: z.input<Options>): LayerSelector;
}

/** What an adapter package exports as `adapter`, so that `lft train --adapter NAME` finds it by package name. */
export interface AdapterPlugin<Options extends z.ZodType = z.ZodType> {
  readonly name: string;
  readonly summary: string;
  readonly options: Options;
  create(options: z.input<Options>): Adapter;
  /** `peft_type` in adapter_config.json (or `format` in adapter.json) of the folders that `load` reads. */
  readonly format?: string;
  /** Reads a saved adapter: the returned adapter attaches the saved values. */
  load?(folder: string): Promise<Adapter>;
}
