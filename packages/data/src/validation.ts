import { z } from 'zod';

const RULE = 'must be a share from 0 (none) to below 1, or the path of a file';

/** What is held out: a share of the rows, or a file of its own. */
export const validationSchema = z.union([z.number().min(0, RULE).lt(1, RULE), z.string().min(1, RULE)], RULE);
