/* The Python module. It holds one function, which reads bytes where they lie; ctypes loads all others. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernels.h"

enum { FOREIGN = -1, TOO_DEEP = -2, PROMISE = -3 };

/* What CPython takes for a value, rounded up: the header of an object, and the place in the array around it. */
enum { OBJECT_BYTES = 64, PLACE_BYTES = 8 };

/* Follow the headers of one msgpack value through all of `data`, and build nothing. Returns how many bytes of memory the
 * value would take, or why it is refused: a kind that the canonical encoding does not have, or bytes after the value;
 * arrays nested more deeply than `depth`; a header that promises more than follows it. */
static long long measure(const uint8_t *data, size_t size, size_t depth)
{
    uint64_t left[256], pending = 1, cost = 0; /* items still to come: per level, and of all levels */
    size_t at = 0, level = 0;
    for (left[0] = 1; pending; ) {
        while (!left[level]) level--;
        if (at == size) return PROMISE;
        left[level]--, pending--;
        const uint8_t first = data[at++];
        size_t width = 0; /* bytes of the length, or of a whole number */
        uint64_t length = 0;
        int is_array = 0, is_counted = 1;
        if (first < 0x80 || first >= 0xe0) is_counted = 0;
        else if (first >= 0x90 && first < 0xa0) is_array = 1, length = first & 15;
        else if (first >= 0xa0 && first < 0xc0) length = first & 31;
        else switch (first) {
            case 0xc0: case 0xc2: case 0xc3: is_counted = 0; break;
            case 0xc4: case 0xd9: width = 1; break;
            case 0xc5: case 0xda: width = 2; break;
            case 0xc6: case 0xdb: width = 4; break;
            case 0xdc: is_array = 1, width = 2; break;
            case 0xdd: is_array = 1, width = 4; break;
            case 0xcc: case 0xd0: is_counted = 0, width = 1; break;
            case 0xcd: case 0xd1: is_counted = 0, width = 2; break;
            case 0xce: case 0xd2: is_counted = 0, width = 4; break;
            case 0xcf: case 0xd3: is_counted = 0, width = 8; break;
            default: return FOREIGN; /* maps, floats, extensions, the byte that is never used */
        }
        if (size - at < width) return PROMISE;
        for (size_t k = 0; k < width; k++, at++)
            if (is_counted) length = length << 8 | data[at];
        if (length + (is_array ? pending : 0) > size - at) return PROMISE; /* an item takes a byte at least */
        cost += OBJECT_BYTES + (is_array ? PLACE_BYTES : 1) * length;
        if (is_array) {
            if (length && level == depth) return TOO_DEEP;
            if (length) left[++level] = length, pending += length;
        } else at += length;
    }
    return at == size ? (long long)cost : FOREIGN;
}

static PyObject *scan(PyObject *module, PyObject *arguments)
{
    Py_buffer data;
    Py_ssize_t depth;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*n", &data, &depth)) return NULL;
    const long long found = depth < 0 || depth > 255 ? FOREIGN : measure(data.buf, (size_t)data.len, (size_t)depth);
    PyBuffer_Release(&data);
    return PyLong_FromLongLong(found);
}

static PyMethodDef methods[] = {{"scan", scan, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_compiled", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__compiled(void) { return PyModule_Create(&definition); }
