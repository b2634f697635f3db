/*
 * words: counts words, for tests and the demo of the fog.
 *
 *   words count FILE...        counts the words of files, and writes them to standard output, ascending
 *   words sum FILE...          adds such counts up
 *   words spin N               burns about N million steps, and writes a line to standard error for each tenth
 *   words exit CODE            ends with this exit code
 *   words file PATH TEXT       writes a file
 *   words flood BYTES          writes so many bytes to standard output
 *   words clock                writes what the clock says, and what randomness there is
 *   words grow BYTES           asks for memory until it has so much
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLOTS (1u << 16)
#define WORD 64

struct slot {
    char word[WORD];
    uint64_t n;
};

static struct slot table[SLOTS];
static unsigned used;

static void add(const char *word, uint64_t n)
{
    uint32_t h = 2166136261u;
    for (const char *c = word; *c; c++)
        h = (h ^ (unsigned char)*c) * 16777619u;
    for (uint32_t at = h % SLOTS;; at = (at + 1) % SLOTS) {
        if (table[at].n == 0) {
            if (++used > SLOTS * 3 / 4) {
                fprintf(stderr, "words: too many different words\n");
                exit(3);
            }
            strcpy(table[at].word, word);
        } else if (strcmp(table[at].word, word) != 0) {
            continue;
        }
        table[at].n += n;
        return;
    }
}

static int by_word(const void *a, const void *b)
{
    const struct slot *x = a, *y = b;
    if (!x->n || !y->n)
        return (x->n == 0) - (y->n == 0);
    return strcmp(x->word, y->word);
}

static FILE *open_input(const char *path)
{
    FILE *in = fopen(path, "r");
    if (!in) {
        fprintf(stderr, "words: %s is missing\n", path);
        exit(2);
    }
    return in;
}

static void count(const char *path)
{
    FILE *in = open_input(path);
    char word[WORD];
    unsigned len = 0;
    for (int c; (c = getc(in)) != EOF;) {
        if (c >= 'A' && c <= 'Z')
            c += 'a' - 'A';
        if (c >= 'a' && c <= 'z') {
            if (len < WORD - 1)
                word[len++] = (char)c;
        } else if (len) {
            word[len] = 0;
            add(word, 1);
            len = 0;
        }
    }
    if (len) {
        word[len] = 0;
        add(word, 1);
    }
    fclose(in);
}

static void sum(const char *path)
{
    FILE *in = open_input(path);
    char word[WORD];
    unsigned long long n;
    while (fscanf(in, "%63s %llu", word, &n) == 2)
        add(word, n);
    fclose(in);
}

static void print(void)
{
    qsort(table, SLOTS, sizeof *table, by_word);
    for (unsigned at = 0; at < SLOTS && table[at].n; at++)
        printf("%s %llu\n", table[at].word, (unsigned long long)table[at].n);
}

static void spin(uint64_t millions)
{
    uint64_t x = 88172645463325252u;
    for (unsigned tenth = 1; tenth <= 10; tenth++) {
        for (uint64_t n = 0; n < millions * 100000; n++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        fprintf(stderr, "%u0 %%\n", tenth);
    }
    printf("%llu\n", (unsigned long long)x);
}

static void grow(size_t bytes)
{
    const size_t piece = 1 << 20;
    for (size_t got = 0; got < bytes; got += piece) {
        char *p = malloc(piece);
        if (!p) {
            fprintf(stderr, "words: no more memory\n");
            exit(4);
        }
        memset(p, 1, piece);
    }
    printf("%zu\n", bytes);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "count") || !strcmp(what, "sum")) {
        for (int at = 2; at < argc; at++)
            (*what == 'c' ? count : sum)(argv[at]);
        print();
        return 0;
    }
    if (!strcmp(what, "spin") && argc == 3) {
        spin(strtoull(argv[2], NULL, 10));
        return 0;
    }
    if (!strcmp(what, "exit") && argc == 3)
        return atoi(argv[2]);
    if (!strcmp(what, "file") && argc == 4) {
        FILE *out = fopen(argv[2], "w");
        if (!out)
            return 5;
        fputs(argv[3], out);
        return fclose(out) ? 5 : 0;
    }
    if (!strcmp(what, "flood") && argc == 3) {
        static char zeros[4096];
        for (uint64_t left = strtoull(argv[2], NULL, 10); left;) {
            size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
            if (fwrite(zeros, 1, n, stdout) != n)
                return 6;
            left -= n;
        }
        return 0;
    }
    if (!strcmp(what, "clock")) {
        struct timespec now;
        uint64_t random = 0;
        clock_gettime(CLOCK_REALTIME, &now);
        getentropy(&random, sizeof random);
        printf("%lld.%09ld %llu\n", (long long)now.tv_sec, now.tv_nsec, (unsigned long long)random);
        return 0;
    }
    if (!strcmp(what, "grow") && argc == 3) {
        grow(strtoull(argv[2], NULL, 10));
        return 0;
    }
    fprintf(stderr, "words: count, sum, spin, exit, file, flood, clock or grow\n");
    return 1;
}
