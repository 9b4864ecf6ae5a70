# Says which documented targets of a Makefile are nearest to `goal`, which is none: by the number of letters to change.
# Source: https://en.wikipedia.org/wiki/Levenshtein_distance

function least(a, b) { return a < b ? a : b }

function distance(from, to,    row, above, diagonal, i, j) {
    for (j = 0; j <= length(to); j++) row[j] = j
    for (i = 1; i <= length(from); i++) {
        diagonal = row[0]
        row[0] = i
        for (j = 1; j <= length(to); j++) {
            above = row[j]
            row[j] = least(least(above, row[j - 1]) + 1, diagonal + (substr(from, i, 1) != substr(to, j, 1)))
            diagonal = above
        }
    }
    return row[length(to)]
}

BEGIN { FS = ":"; lowest = 3 }

/^[a-z-]+:.*## / {
    changes = index($1, goal) == 1 ? 1 : distance(goal, $1)
    if (changes < lowest) { lowest = changes; nearest = "" }
    if (changes == lowest) nearest = nearest (nearest ? " or " : "") $1
}

END { printf "There is no target %s: %s\n", goal, nearest ? "did you mean " nearest "?" : "make alone lists them." }
