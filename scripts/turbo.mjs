/** `node scripts/turbo.mjs run build ...`: turbo in a workspace that is installed first when it has to be. */
import { install } from './install.mjs';
import { turbo } from './run.mjs';

try {
  await install();
  process.exitCode = (await turbo(process.argv.slice(2))).code;
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
