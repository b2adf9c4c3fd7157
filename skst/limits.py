"""Numbers of spots and cells at which something is done in another way, all in one place."""

# Networks see all spots or cells at once up to here, in memory, and beyond mini-batches, also of files.
MAX_FULL_BATCH = 20_000
# Spots in a tile of tissue, of which several make a mini-batch.
TILE_SIZE = 512
# Cells in a mini-batch.
CELLS_A_BATCH = 4096
# Steps of each of the two stages of training networks of cells.
CELL_STEPS = 60
# Spots or cells of a batch for each thread that trains a network: fewer are not worth one more.
ROWS_A_THREAD = 10_000
# Neighbours in expression space are searched for exactly up to here: for a graph, and for communities.
MAX_EXACT_GRAPH = 100_000
MAX_EXACT_COMMUNITIES = 20_000
# Spots of a tissue that is in memory up to which it is worked on as a whole, and not in parts as one in files is.
MAX_WHOLE = 50_000
# Spots of slices that are read one at a time whose embeddings are held at once to be assigned to domains.
MAX_PREDICTED = 1_000_000
# Rows up to which posteriors are computed as they are fitted, and not in blocks.
MAX_POSTERIOR = 100_000
# More than a radius may join, entries of a graph in all.
MAX_EDGES = 200_000_000
# The text of each spot is read up to here, and composed of the vectors of its genes beyond.
MAX_READ = 10_000
# Stored entries of a matrix that anything is computed of at once.
BLOCK_ENTRIES = 2**24
# Entries of a slice, spots x genes, that are read at once, and of a part of it that is averaged at once.
SLICE_ENTRIES = 2**28
TILE_ENTRIES = 2**25
# The same of a slice in memory that is larger than that: 16 MiB, which the allocator keeps and the cache nearly holds.
HELD_ENTRIES = 2**22
# One that is not larger is worked on in such parts, too, where they have so many spots.
HELD_SPOTS = 10_000
# Tokens that a language model reads at once on a CPU, however many texts it may: what stays in the processor's cache.
TOKENS_AT_ONCE = 2048
