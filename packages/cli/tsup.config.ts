import { defineConfig } from 'tsup';
import preset from '../../tsup.preset.js';

/** The library (index) as everywhere, and the command. */
export default defineConfig({
  ...(preset as object),
  entry: ['src/index.ts', 'src/lft.ts'],
  dts: { entry: 'src/index.ts' },
});
