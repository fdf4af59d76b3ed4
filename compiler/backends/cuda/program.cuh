// What a training run needs besides its units: its cursor, the clock, the order of rows, batches. In front of it stand the
// prelude and the slots of the control block. All threads of the grid hold the same cursor and take the same decisions;
// the leader alone writes it down.

struct Cursor {
    long long epoch, row, step, status, best_epoch, drawn;
    double loss_sum, best, last_loss;
    double watched;  // the loss of the epoch before, of validation where there is one
};

struct __align__(16) Sixteen {
    word64 low, high;
};

static __device__ long long double_bits(double x) { return __double_as_longlong(x); }

static __device__ bool leader() { return block_number() == 0 && threadIdx.x == 0; }

static __device__ double *history_line(const long long *control, long long epoch, int width) {
    return (double *)control[slot_history] + epoch * width;
}

static __device__ Cursor cursor_of(const long long *control, int width) {
    Cursor at;
    at.epoch = control[slot_epoch];
    at.row = control[slot_row];
    at.step = control[slot_step];
    at.status = control[slot_status];
    at.best_epoch = control[slot_best_epoch];
    at.drawn = control[slot_drawn];
    at.loss_sum = __longlong_as_double(control[slot_loss_sum]);
    at.best = __longlong_as_double(control[slot_best]);
    at.last_loss = __longlong_as_double(control[slot_last_loss]);
    at.watched = at.epoch > 0 ? history_line(control, at.epoch - 1, width)[1] : NETC_INFINITY_D;
    return at;
}

static __device__ void write_down(long long *control, const Cursor &at) {
    if (!leader()) return;
    control[slot_epoch] = at.epoch;
    control[slot_row] = at.row;
    control[slot_step] = at.step;
    control[slot_status] = at.status;
    control[slot_best_epoch] = at.best_epoch;
    control[slot_drawn] = at.drawn;
    control[slot_loss_sum] = double_bits(at.loss_sum);
    control[slot_best] = double_bits(at.best);
    control[slot_last_loss] = double_bits(at.last_loss);
}

// Whether the step before which the cursor stands is to be run. A launch behind a pause, the end of an epoch or of the run, or
// a loss that is not finite, finds that it is not.
static __device__ bool goes_on(const long long *control) {
    return control[slot_status] == running && control[slot_row] < control[slot_rows] &&
           control[slot_step] < control[slot_pause] && control[slot_step] < control[slot_end_step];
}

static __device__ index_t smaller(long long a, long long b) { return (index_t)(a < b ? a : b); }

// A number that a unit left behind.
template <class T> static __device__ double number(unsigned char *const *table, int slot) {
    return (double)*(const T *)table[slot];
}

// The numbers that schedules read. Every block writes them: each has its own, or all write the same.
static __device__ void set_clock(long long *scalars, const long long *control, const Cursor &at) {
    if (threadIdx.x != 0) return;
    const long long values[] = {at.step + 1, at.epoch, control[slot_total_steps], control[slot_epochs],
                                control[slot_steps_per_epoch], double_bits(at.watched), control[slot_seed]};
    for (int i = 0; i < 7; ++i) scalars[i] = values[i];
}

// The order of an epoch's rows: Fisher's and Yates's, which exchanges row i with a drawn row up to i, from the last to the
// second. Exchanges that touch no common row are done at once: each draws its two places for itself, the earlier exchange
// wins, and those who hold both go ahead, which takes about three times the logarithm of the number of rows rounds (Shun,
// Gu, Blelloch, Fineman, Gibbons: Sequential random permutation, list contraction and tree contraction are highly
// parallel, SODA 2015). The order is the same as that of one exchange after the other.
static __device__ void draw_order(const long long *control, long long epoch) {
    int *order = (int *)control[slot_permutation], *partners = (int *)control[slot_partners];
    word64 *holders = (word64 *)control[slot_holders];
    unsigned int *waiting = (unsigned int *)control[slot_waiting];
    const int rows = (int)control[slot_rows];
    const word64 seed = (word64)control[slot_seed];
    const int first = block_number() * blockDim.x + threadIdx.x, stride = block_count() * blockDim.x;
    for (long long i = first; i < rows; i += stride) {
        const double drawn = uniform_d((word64)(i + 1), 0xffffffffu, (word32)epoch, seed);
        order[i] = (int)i;
        partners[i] = i > 0 ? (int)(drawn * (double)(i + 1)) : -1;
        holders[i] = 0;
    }
    if (leader())
        for (int i = 0; i < 3; ++i) waiting[i] = 0;
    grid_sync();
    for (word64 round = 1;; ++round) {
        const word64 now = round << 32;  // claims of earlier rounds count no more
        if (leader()) waiting[(round + 1) % 3] = 0;
        for (long long i = first; i < rows; i += stride) {
            if (partners[i] < 0) continue;
            atomicMax(&holders[i], now | (word64)i);
            atomicMax(&holders[partners[i]], now | (word64)i);
        }
        grid_sync();
        bool waits = false;
        for (long long i = first; i < rows; i += stride) {
            const int partner = partners[i];
            if (partner < 0) continue;
            if (holders[i] == (now | (word64)i) && holders[partner] == (now | (word64)i)) {
                const int kept = order[i];
                order[i] = order[partner];
                order[partner] = kept;
                partners[i] = -1;
            } else {
                waits = true;
            }
        }
        if (waits) atomicExch(&waiting[round % 3], 1u);
        grid_sync();
        if (waiting[round % 3] == 0) return;
    }
}

// Puts the address of a batch's rows into a table: of the rows as they lie, or of a copy, in the drawn order or where they
// do not begin at a multiple of 16 bytes. T: the largest type whose size divides that of a row, which has so many.
template <class T, int MANY>
static __device__ void place_rows(unsigned char **table, int slot, const long long *control, int tensor, long long row, index_t count) {
    const long long *addresses = control + slot_data + 3 * tensor;
    const unsigned char *source = (const unsigned char *)addresses[0];
    unsigned char *copy = (unsigned char *)addresses[2];
    const bool drawn = control[slot_shuffle] != 0;
    const long long begin = row * MANY * (long long)sizeof(T);
    const bool as_they_lie = !drawn && begin % 16 == 0;
    if (threadIdx.x == 0) table[slot] = as_they_lie ? (unsigned char *)source + begin : copy;
    if (as_they_lie) return;
    const int *order = (const int *)control[slot_permutation];
    const index_t total = count * MANY, stride = block_count() * blockDim.x;
    for (index_t i = block_number() * blockDim.x + threadIdx.x; i < total; i += stride) {
        const index_t at = i / MANY;
        const long long from = drawn ? order[row + at] : row + at;
        ((T *)copy)[i] = ((const T *)source)[from * MANY + (i - at * MANY)];
    }
}

// Copies a whole number of 16 bytes, and waits until that is done.
static __device__ void copy_block(unsigned char *target, const unsigned char *source, long long bytes) {
    const long long many = bytes / 16, stride = (long long)block_count() * blockDim.x;
    for (long long i = (long long)block_number() * blockDim.x + threadIdx.x; i < many; i += stride)
        ((Sixteen *)target)[i] = ((const Sixteen *)source)[i];
    grid_sync();
}

// A block's own copy of a table of addresses.
static __device__ void fetch_table(unsigned char **table, long long address, int size) {
    for (int i = threadIdx.x; i < size; i += blockDim.x) table[i] = ((unsigned char *const *)address)[i];
}
